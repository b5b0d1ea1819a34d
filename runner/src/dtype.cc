#include "dtype.hpp"

#include <cmath>
#include <cstring>

#include "error.hpp"

namespace effc {
namespace {

constexpr std::uint8_t kInt = 0, kUInt = 1, kFloat = 2, kBFloat = 4, kBool = 6;

constexpr DType kTable[] = {
    {"float32", kFloat, 32}, {"float16", kFloat, 16}, {"float64", kFloat, 64}, {"bfloat16", kBFloat, 16},
    {"int8", kInt, 8},       {"uint8", kUInt, 8},     {"int16", kInt, 16},     {"uint16", kUInt, 16},
    {"int32", kInt, 32},     {"uint32", kUInt, 32},   {"int64", kInt, 64},     {"uint64", kUInt, 64},
    {"bool", kBool, 8},
};

template <typename T>
T read(const void* data) {
  T value;
  std::memcpy(&value, data, sizeof value);
  return value;
}

// IEEE 754 binary16: sign, 5 bits of exponent (bias 15), 10 of fraction.
double half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24));
}

// bfloat16 is the upper half of a float.
double bfloat(std::uint16_t bits) {
  const std::uint32_t wide = std::uint32_t{bits} << 16;
  return read<float>(&wide);
}

double real(DType dtype, const void* data) {
  if (dtype.code == kBFloat) return bfloat(read<std::uint16_t>(data));
  if (dtype.bits == 16) return half(read<std::uint16_t>(data));
  return dtype.bits == 32 ? read<float>(data) : read<double>(data);
}

template <typename Signed, typename Unsigned>
double integer(DType dtype, const void* data) {
  if (dtype.code == kInt) return static_cast<double>(read<Signed>(data));
  return static_cast<double>(read<Unsigned>(data));
}

double whole(DType dtype, const void* data) {
  switch (dtype.bits) {
    case 8: return integer<std::int8_t, std::uint8_t>(dtype, data);
    case 16: return integer<std::int16_t, std::uint16_t>(dtype, data);
    case 32: return integer<std::int32_t, std::uint32_t>(dtype, data);
    default: return integer<std::int64_t, std::uint64_t>(dtype, data);
  }
}

}  // namespace

DType dtype_of(const std::string& name) {
  for (const DType& dtype : kTable)
    if (name == dtype.name) return dtype;
  throw bad_input("the element type '" + name + "' is unknown");
}

double as_double(DType dtype, const void* data) {
  return dtype.code == kFloat || dtype.code == kBFloat ? real(dtype, data) : whole(dtype, data);
}

}  // namespace effc
