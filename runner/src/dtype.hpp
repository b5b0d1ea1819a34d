// Element types by NumPy's names, as DLPack codes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace effc {

struct DType {
  const char* name;
  std::uint8_t code;  // DLDataTypeCode
  std::uint8_t bits;

  std::size_t bytes() const { return bits / 8; }
};

// Throws Error for a name that no artifact has.
DType dtype_of(const std::string& name);

// The element at `data` as a number, for reports.
double as_double(DType dtype, const void* data);

}  // namespace effc
