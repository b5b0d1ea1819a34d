#include "feed.hpp"

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>

#include "error.hpp"
#include "shapes.hpp"

namespace effc {
namespace {

using Sizes = std::vector<std::optional<std::uint64_t>>;

void check_count(std::size_t given, const std::vector<TensorInfo>& infos, const char* option) {
  std::string names;
  for (const TensorInfo& info : infos) names += (names.empty() ? "" : ", ") + info.name;
  if (given != infos.size())
    throw bad_input(std::to_string(given) + " file(s) are given, the artifact has " + std::to_string(infos.size()) +
                        " (" + names + ")", option);
}

std::uint64_t size_of(const std::string& file) {
  std::error_code error;
  const std::uint64_t bytes = std::filesystem::file_size(file, error);
  if (error) throw bad_input("it cannot be read (" + error.message() + ")", file);
  return bytes;
}

// `room` for one input of the settled shape.
struct Place {
  void* data;
  std::size_t bytes;
};

std::vector<Place> places(Model& model, const Sizes& sizes, std::int64_t batch) {
  const std::vector<TensorInfo>& inputs = model.manifest().inputs;
  const std::vector<Shape> shapes = settle(inputs, sizes, batch);
  std::vector<Place> made;
  for (std::size_t i = 0; i < inputs.size(); ++i) made.push_back({model.room(i, shapes[i]), bytes_of(inputs[i], shapes[i])});
  return made;
}

template <typename T>
void put(void* into, std::size_t index, T value) {
  std::memcpy(static_cast<char*>(into) + index * sizeof value, &value, sizeof value);
}

void draw(const TensorInfo& info, const Place& place, std::mt19937& generator) {
  const bool is_float = std::strncmp(info.dtype.name, "float", 5) == 0;
  for (std::size_t i = 0; i < place.bytes / info.dtype.bytes(); ++i) {
    const float real = static_cast<float>(generator() >> 8) * 0x1p-23f - 1.0f;
    if (is_float && info.dtype.bits == 32)
      put(place.data, i, real);
    else if (is_float && info.dtype.bits == 64)
      put(place.data, i, static_cast<double>(real));
    else if (info.dtype.bits == 16 && info.dtype.code > 1)  // a sign and 13 bits below 1 in either 16-bit float
      put(place.data, i, static_cast<std::uint16_t>(generator() & 0xB7FF));
    else
      static_cast<char*>(place.data)[i * info.dtype.bytes()] = static_cast<char>(info.scale != 0 ? generator() & 127 : 0);
  }
}

}  // namespace

void feed_files(Model& model, const std::vector<std::string>& files, std::int64_t batch) {
  check_count(files.size(), model.manifest().inputs, "--input");
  Sizes sizes;
  for (const std::string& file : files) sizes.emplace_back(size_of(file));
  const std::vector<Place> made = places(model, sizes, batch);
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::ifstream stream(files[i], std::ios::binary);
    stream.read(static_cast<char*>(made[i].data), static_cast<std::streamsize>(made[i].bytes));
    if (!stream) throw bad_input("it cannot be read", files[i]);
  }
}

void feed_drawn(Model& model, std::int64_t batch) {
  const std::vector<TensorInfo>& inputs = model.manifest().inputs;
  const std::vector<Place> made = places(model, Sizes(inputs.size()), batch);
  std::mt19937 generator(0);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::memset(made[i].data, 0, made[i].bytes);
    draw(inputs[i], made[i], generator);
  }
}

bool feed_stdin(Model& model, std::int64_t batch) {
  std::size_t before = 0;
  for (const Place& place : places(model, Sizes(model.manifest().inputs.size()), batch)) {
    const std::size_t count = std::fread(place.data, 1, place.bytes, stdin);
    if (count == 0 && before == 0) return false;
    if (count != place.bytes)
      throw bad_input("stdin ends after " + std::to_string(before + count) + " bytes of a call's inputs", "--input",
                      "--batch says how many samples a call has");
    before += count;
  }
  return true;
}

void write_outputs(const Model& model, const std::vector<std::string>& files) {
  const std::vector<TensorInfo>& outputs = model.manifest().outputs;
  const bool all = files.size() == 1 && files[0] == "-";
  if (!all) check_count(files.size(), outputs, "--output");
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const View view = model.output(i);
    std::FILE* stream = all ? stdout : std::fopen(files[i].c_str(), "wb");
    bool done = stream && std::fwrite(view.data, 1, view.bytes, stream) == view.bytes;
    if (stream) done = (all ? std::fflush(stream) : std::fclose(stream)) == 0 && done;
    if (!done) throw bad_input("it cannot be written", all ? "stdout" : files[i], "make room, or name another output");
  }
}

}  // namespace effc
