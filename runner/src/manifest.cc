#include "manifest.hpp"

#include <fstream>
#include <sstream>

#include "error.hpp"
#include "json.hpp"

namespace effc {
namespace {

constexpr std::int64_t kSchema = 2;

std::string contents(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream || !text)
    throw bad_input("it is not an artifact: no readable manifest.json", file.parent_path().string(),
                    "give a folder that `effc build` wrote, such as out/tvm-arm64-int8");
  return text.str();
}

Dim dim_of(const json::Value& value) {
  if (const std::string* symbol = std::get_if<std::string>(&value)) return {-1, *symbol};
  const std::int64_t* size = std::get_if<std::int64_t>(&value);
  if (!size || *size < 0) throw bad_input("a dim of 'shape' should be a count or the name of one");
  return {*size, ""};
}

// A number or null; `absent` where it is null or not there.
double number_or(const json::Value& object, const char* field, double absent) {
  const json::Value* value = json::find(object, field);
  if (!value) return absent;
  if (const double* real = std::get_if<double>(value)) return *real;
  if (const std::int64_t* whole = std::get_if<std::int64_t>(value)) return static_cast<double>(*whole);
  return absent;
}

TensorInfo tensor_of(const json::Value& value) {
  TensorInfo info{json::text(value, "name"), dtype_of(json::text(value, "dtype")), {}, number_or(value, "scale", 0),
                  static_cast<std::int32_t>(number_or(value, "zero_point", 0))};
  for (const json::Value& dim : json::array(value, "shape")) info.shape.push_back(dim_of(dim));
  return info;
}

FileInfo file_of(const json::Value& value) {
  const std::int64_t bytes = json::integer(value, "bytes");
  if (bytes < 0) throw bad_input("the field 'bytes' should count bytes");
  return {json::text(value, "path"), json::text(value, "sha256"), static_cast<std::uint64_t>(bytes)};
}

template <typename Make>
auto each(const json::Value& root, const char* field, Make make) {
  std::vector<decltype(make(root))> made;
  for (const json::Value& value : json::array(root, field)) made.push_back(make(value));
  return made;
}

std::string cpu_of(const json::Value& root) {
  const json::Value* toolchain = json::find(root, "toolchain");
  return toolchain && json::find(*toolchain, "cpu_requires") ? json::text(*toolchain, "cpu_requires") : "";
}

Manifest manifest_of(const json::Value& root) {
  if (const std::int64_t schema = json::integer(root, "schema"); schema != kSchema)
    throw bad_input("its schema is " + std::to_string(schema) + ", this version reads " + std::to_string(kSchema), "",
                    "use the version of effc-run that belongs to the effc that built it");
  return {json::text(root, "target"),           json::text(root, "main"),
          cpu_of(root),                         each(root, "inputs", tensor_of),
          each(root, "outputs", tensor_of),     each(root, "files", file_of),
          json::find(root, "sealed") != nullptr && json::boolean(root, "sealed")};
}

}  // namespace

Manifest read_manifest(const std::filesystem::path& file) {
  const std::string text = contents(file);
  try {
    return manifest_of(json::parse(text));
  } catch (Error& error) {
    error.where = file.string();
    throw;
  }
}

}  // namespace effc
