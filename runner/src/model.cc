#include "model.hpp"

#include <cstring>
#include <utility>

#include "cpu.hpp"
#include "error.hpp"

namespace effc {
namespace {

std::vector<int> cpus_for(int threads) {
  if (threads < 0) throw bad_input(std::to_string(threads) + " is not a number of threads", "threads");
  if (const std::size_t usable = usable_cpus().size(); static_cast<std::size_t>(threads) > usable)
    throw bad_input("this process may use " + std::to_string(usable) + " CPU(s), not " + std::to_string(threads),
                    "threads");
  return threads ? last_cpus(threads) : std::vector<int>{};
}

Shape fixed_shape(const TensorInfo& info) {
  Shape shape;
  for (const Dim& dim : info.shape) {
    if (!dim.symbol.empty())
      throw bad_input("input '" + info.name + "' is " + spelled(info) + ", and no shape is given for it");
    shape.push_back(dim.size);
  }
  return shape;
}

void check_shape(const TensorInfo& info, const Shape& shape) {
  bool fits = shape.size() == info.shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i)
    fits = info.shape[i].symbol.empty() ? shape[i] == info.shape[i].size : shape[i] >= 0;
  if (!fits)
    throw bad_input("input '" + info.name + "' has shape " + spelled(shape) + ", the artifact takes " + spelled(info));
}

std::string joined(const std::vector<std::string>& dims) {
  std::string made;
  for (const std::string& dim : dims) made += (made.empty() ? "" : "x") + dim;
  return made.empty() ? "scalar" : made;
}

}  // namespace

Model::Model(Artifact artifact, int threads)
    : artifact_(std::move(artifact)),
      shapes_(artifact_.manifest.inputs.size()),
      set_(artifact_.manifest.inputs.size()),
      vm_(artifact_.library(), artifact_.manifest.inputs.size(), cpus_for(threads)) {}

void Model::set(std::size_t index, const void* data, std::size_t bytes, const std::int64_t* shape) {
  const TensorInfo& info = manifest().inputs.at(index);
  const Shape given = shape ? Shape(shape, shape + info.shape.size()) : fixed_shape(info);
  check_shape(info, given);
  if (const std::size_t wanted = bytes_of(info, given); wanted != bytes)
    throw bad_input("input '" + info.name + "' has " + std::to_string(bytes) + " bytes, and " + info.dtype.name + " " +
                    spelled(given) + " takes " + std::to_string(wanted));
  void* into = room(index, given);
  if (bytes) std::memcpy(into, data, bytes);
}

void* Model::room(std::size_t index, const Shape& shape) {
  const TensorInfo& info = manifest().inputs.at(index);
  check_shape(info, shape);
  bytes_of(info, shape);
  void* made = vm_.input(index, info.dtype, shape);
  shapes_[index] = shape;
  set_[index] = true;
  return made;
}

void Model::run() {
  check_symbols();
  vm_.run();
  check_outputs();
}

void Model::check_symbols() const {
  std::map<std::string, std::int64_t> bound;
  for (std::size_t i = 0; i < shapes_.size(); ++i) {
    const TensorInfo& info = manifest().inputs[i];
    if (!set_[i]) throw bad_input("input '" + info.name + "' is not set");
    for (std::size_t axis = 0; axis < info.shape.size(); ++axis) {
      const std::string& symbol = info.shape[axis].symbol;
      if (symbol.empty()) continue;
      const std::int64_t first = bound.emplace(symbol, shapes_[i][axis]).first->second;
      if (first != shapes_[i][axis])
        throw bad_input("input '" + info.name + "' has shape " + spelled(shapes_[i]) + ", but " + symbol + " is " +
                        std::to_string(first) + " already");
    }
  }
}

void Model::check_outputs() const {
  const std::vector<TensorInfo>& infos = manifest().outputs;
  const std::vector<View>& views = vm_.outputs();
  if (views.size() != infos.size())
    throw Error(Kind::failed, "the library gives " + std::to_string(views.size()) + " outputs, the manifest names " +
                                  std::to_string(infos.size()), artifact_.library().string());
  for (std::size_t i = 0; i < infos.size(); ++i)
    if (views[i].code != infos[i].dtype.code || views[i].bits != infos[i].dtype.bits)
      throw Error(Kind::failed, "output '" + infos[i].name + "' is not the " + infos[i].dtype.name +
                                    " that the manifest says", artifact_.library().string());
}

View Model::output(std::size_t index) const {
  if (vm_.outputs().empty()) throw bad_input("there is no output before the first run");
  return vm_.outputs().at(index);
}

std::string spelled(const Shape& shape) {
  std::vector<std::string> dims;
  for (const std::int64_t dim : shape) dims.push_back(std::to_string(dim));
  return joined(dims);
}

std::string spelled(const TensorInfo& info) {
  std::vector<std::string> dims;
  for (const Dim& dim : info.shape) dims.push_back(dim.symbol.empty() ? std::to_string(dim.size) : dim.symbol);
  return joined(dims);
}

std::size_t bytes_of(const TensorInfo& info, const Shape& shape) {
  std::size_t bytes = info.dtype.bytes();
  for (const std::int64_t dim : shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(dim), &bytes) || bytes > PTRDIFF_MAX)
      throw bad_input("input '" + info.name + "' of shape " + spelled(shape) + " exceeds the memory");
  return bytes;
}

}  // namespace effc
