#include "shapes.hpp"

#include <algorithm>
#include <map>
#include <string>

#include "error.hpp"

namespace effc {
namespace {

using Bound = std::map<std::string, std::int64_t>;

void bind_batch(const TensorInfo& info, std::int64_t batch, Bound& bound) {
  if (info.shape.empty() || batch == 0) return;
  const Dim& first = info.shape.front();
  if (!first.symbol.empty())
    bound[first.symbol] = batch;
  else if (first.size != batch)
    throw bad_input("input '" + info.name + "' is always " + spelled(info), "--batch");
}

// The one symbol that is unbound; empty where there is none or several.
std::string lone_symbol(const TensorInfo& info, const Bound& bound) {
  std::string lone;
  int count = 0;
  for (const Dim& dim : info.shape)
    if (!dim.symbol.empty() && !bound.count(dim.symbol)) lone = dim.symbol, ++count;
  return count == 1 ? lone : "";
}

Shape shape_of(const TensorInfo& info, const Bound& bound) {
  Shape shape;
  for (const Dim& dim : info.shape) {
    const auto found = bound.find(dim.symbol);
    shape.push_back(dim.symbol.empty() ? dim.size : found == bound.end() ? 1 : found->second);
  }
  return shape;
}

// bytes = symbol * (bytes of the shape where the symbol is 1).
void bind_size(const TensorInfo& info, std::uint64_t bytes, Bound& bound) {
  const std::string symbol = lone_symbol(info, bound);
  const std::size_t one = bytes_of(info, shape_of(info, bound));
  if (!symbol.empty() && one && bytes && bytes % one == 0) bound[symbol] = static_cast<std::int64_t>(bytes / one);
}

void check_size(const TensorInfo& info, const Shape& shape, std::uint64_t bytes) {
  if (const std::size_t wanted = bytes_of(info, shape); wanted != bytes)
    throw bad_input("input '" + info.name + "' has " + std::to_string(bytes) + " bytes, and " + info.dtype.name + " " +
                        spelled(shape) + " takes " + std::to_string(wanted),
                    "--input", "the artifact takes " + spelled(info));
}

}  // namespace

std::vector<Shape> settle(const std::vector<TensorInfo>& inputs,
                          const std::vector<std::optional<std::uint64_t>>& bytes, std::int64_t batch) {
  Bound bound;
  for (const TensorInfo& info : inputs) bind_batch(info, batch, bound);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (bytes[i]) bind_size(inputs[i], *bytes[i], bound);
  std::vector<Shape> shapes;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    shapes.push_back(shape_of(inputs[i], bound));
    if (bytes[i]) check_size(inputs[i], shapes[i], *bytes[i]);
  }
  return shapes;
}

}  // namespace effc
