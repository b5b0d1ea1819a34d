// The TVM runtime: one loaded library, its inputs and its outputs. Nothing else includes TVM's headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "dtype.hpp"

namespace effc {

struct View {
  const void* data;
  std::size_t bytes;
  const std::int64_t* shape;
  std::size_t rank;
  std::uint8_t code, bits;  // DLDataType
};

class Vm {
 public:
  // `cpus`: one for this thread and one for each worker; empty leaves number and place to the runtime. Throws Error of kind `failed`.
  Vm(const std::filesystem::path& library, std::size_t inputs, const std::vector<int>& cpus);
  ~Vm();

  // Room for input `index`, kept from run to run while its shape stays.
  void* input(std::size_t index, DType dtype, const std::vector<std::int64_t>& shape);

  // `main(inputs..)`. Throws Error with what the runtime says.
  void run();

  // Valid until the next run.
  const std::vector<View>& outputs() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace effc
