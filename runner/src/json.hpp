// JSON (RFC 8259) as a value, and text as a JSON string.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace effc::json {

struct Value;
using Array = std::vector<Value>;
using Object = std::map<std::string, Value>;

// Numbers without fraction and exponent are integers where 64 bits hold them.
struct Value : std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> {
  using variant::variant;
};

// Throws Error with the offset of the first byte that is wrong.
Value parse(std::string_view text);

// A field of an object; the value of the wanted type. Throw Error that names the field.
const Value* find(const Value& object, const std::string& field);
const std::string& text(const Value& object, const std::string& field);
std::int64_t integer(const Value& object, const std::string& field);
bool boolean(const Value& object, const std::string& field);
const Array& array(const Value& object, const std::string& field);

std::string quoted(std::string_view text);

}  // namespace effc::json
