#include "json.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "error.hpp"

namespace effc::json {
namespace {

constexpr int kDeepest = 64;  // a manifest nests five levels; deeper text would exhaust the stack

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Value document() {
    Value value = any(0);
    blank();
    if (at_ != text_.size()) fail();
    return value;
  }

 private:
  Value any(int depth) {
    if (depth > kDeepest) fail();
    blank();
    switch (peek()) {
      case '{': return object(depth);
      case '[': return array(depth);
      case '"': return string();
      case 't': return word("true", true);
      case 'f': return word("false", false);
      case 'n': return word("null", nullptr);
      default: return number();
    }
  }

  Value object(int depth) {
    Object found;
    expect('{');
    for (bool more = !closes('}'); more; more = follows('}')) {
      blank();
      std::string name = string();
      blank();
      expect(':');
      found.insert_or_assign(std::move(name), any(depth + 1));
    }
    return found;
  }

  Value array(int depth) {
    Array found;
    expect('[');
    for (bool more = !closes(']'); more; more = follows(']')) found.push_back(any(depth + 1));
    return found;
  }

  bool closes(char end) {
    blank();
    return peek() == end && ++at_;
  }

  // Whether a comma announces one more, or else the end comes.
  bool follows(char end) {
    if (closes(end)) return false;
    expect(',');
    return true;
  }

  std::string string() {
    std::string found;
    expect('"');
    while (peek() != '"') {
      const char c = take();
      if (static_cast<unsigned char>(c) < 0x20) fail();
      if (c == '\\')
        escape(found);
      else
        found += c;
    }
    ++at_;
    return found;
  }

  void escape(std::string& into) {
    static constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char c = take();
    if (c == 'u') return utf8(code_point(), into);
    const std::size_t which = names.find(c);
    if (which == names.npos) fail();
    into += meanings[which];
  }

  // \uD83D\uDE00 is one code point, written as two surrogates.
  std::uint32_t code_point() {
    const std::uint32_t high = hex();
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high > 0xDBFF) fail();
    expect('\\');
    expect('u');
    const std::uint32_t low = hex();
    if (low < 0xDC00 || low > 0xDFFF) fail();
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  std::uint32_t hex() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = take();
      const bool digit = c >= '0' && c <= '9', letter = (c | 32) >= 'a' && (c | 32) <= 'f';
      if (!digit && !letter) fail();
      value = value * 16 + static_cast<std::uint32_t>(digit ? c - '0' : (c | 32) - 'a' + 10);
    }
    return value;
  }

  static void utf8(std::uint32_t code, std::string& into) {
    const auto put = [&](std::uint32_t byte) { into += static_cast<char>(byte); };
    if (code < 0x80) return put(code);
    if (code < 0x800) {
      put(0xC0 | code >> 6);
    } else {
      if (code < 0x10000) {
        put(0xE0 | code >> 12);
      } else {
        put(0xF0 | code >> 18);
        put(0x80 | (code >> 12 & 63));
      }
      put(0x80 | (code >> 6 & 63));
    }
    put(0x80 | (code & 63));
  }

  Value word(std::string_view name, Value value) {
    if (text_.substr(at_, name.size()) != name) fail();
    at_ += name.size();
    return value;
  }

  Value number() {
    const std::size_t start = at_;
    at_ += peek() == '-';
    const bool leading_zero = peek() == '0';
    if (digits() > 1 && leading_zero) fail();
    bool whole = true;
    if (at_ < text_.size() && text_[at_] == '.') {
      whole = false;
      ++at_;
      digits();
    }
    if (at_ < text_.size() && (text_[at_] | 32) == 'e') {
      whole = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    return converted(std::string(text_.substr(start, at_ - start)), whole);
  }

  static Value converted(const std::string& digits, bool whole) {
    errno = 0;
    if (const long long value = std::strtoll(digits.c_str(), nullptr, 10); whole && errno == 0)
      return static_cast<std::int64_t>(value);
    return std::strtod(digits.c_str(), nullptr);
  }

  std::size_t digits() {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
    if (at_ == start) fail();
    return at_ - start;
  }

  void blank() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  char peek() {
    if (at_ >= text_.size()) fail();
    return text_[at_];
  }

  char take() {
    const char c = peek();
    ++at_;
    return c;
  }

  void expect(char c) {
    if (peek() != c) fail();
    ++at_;
  }

  [[noreturn]] void fail() const { throw bad_input("it is not JSON (byte " + std::to_string(at_) + ")"); }

  std::string_view text_;
  std::size_t at_ = 0;
};

template <typename T>
const T& typed(const Value& object, const std::string& field, const char* kind) {
  const Value* value = find(object, field);
  if (!value) throw bad_input("the field '" + field + "' is missing");
  const T* found = std::get_if<T>(value);
  if (!found) throw bad_input("the field '" + field + "' should be " + kind);
  return *found;
}

}  // namespace

Value parse(std::string_view text) { return Parser(text).document(); }

const Value* find(const Value& object, const std::string& field) {
  const Object* fields = std::get_if<Object>(&object);
  if (!fields) throw bad_input("an object with the field '" + field + "' should stand where something else does");
  const auto found = fields->find(field);
  return found == fields->end() ? nullptr : &found->second;
}

const std::string& text(const Value& object, const std::string& field) {
  return typed<std::string>(object, field, "a string");
}

std::int64_t integer(const Value& object, const std::string& field) {
  return typed<std::int64_t>(object, field, "an integer");
}

bool boolean(const Value& object, const std::string& field) { return typed<bool>(object, field, "true or false"); }

const Array& array(const Value& object, const std::string& field) { return typed<Array>(object, field, "a list"); }

std::string quoted(std::string_view text) {
  std::string made = "\"";
  for (const char c : text) {
    char code[8];
    std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    if (static_cast<unsigned char>(c) < 0x20)
      made += code;
    else
      made += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  }
  return made + '"';
}

}  // namespace effc::json
