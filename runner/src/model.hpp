// An artifact that is loaded: its inputs are checked against the manifest on their way in, outputs on their way out.
#pragma once

#include <map>
#include <vector>

#include "artifact.hpp"
#include "vm.hpp"

namespace effc {

using Shape = std::vector<std::int64_t>;

class Model {
 public:
  // `threads`: 0 leaves their number to the runtime, otherwise each, this one included, is bound to a CPU of its own.
  Model(Artifact artifact, int threads);

  const Manifest& manifest() const { return artifact_.manifest; }

  // Copy `bytes` bytes into an input. `shape`: of the manifest's rank; null where it leaves no dim free.
  void set(std::size_t index, const void* data, std::size_t bytes, const std::int64_t* shape);

  // Room for the whole of an input of that shape, to be written in place.
  void* room(std::size_t index, const Shape& shape);

  // The shape that an input was last given.
  const Shape& shape(std::size_t index) const { return shapes_.at(index); }

  // Throws Error where an input is not set, or equal symbols of the manifest stand for different numbers.
  void run();

  // Throws Error where it has not run, or the library gives another type than the manifest says.
  View output(std::size_t index) const;

 private:
  void check_symbols() const;
  void check_outputs() const;

  Artifact artifact_;
  std::vector<Shape> shapes_;
  std::vector<bool> set_;
  Vm vm_;
};

// A shape as messages spell it: 1x3x224x224, with symbols N; a scalar is "scalar".
std::string spelled(const Shape& shape);
std::string spelled(const TensorInfo& info);

// Product of the dims times the bytes of an element. Throws Error where 64 bits do not hold it.
std::size_t bytes_of(const TensorInfo& info, const Shape& shape);

}  // namespace effc
