// What goes wrong, for a user: what, where, and what to do. The kinds are the exit codes.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace effc {

enum class Kind : int { internal = 1, bad_input = 2, failed = 6 };

struct Error : std::runtime_error {
  Error(Kind kind, const std::string& what, std::string where = "", std::string hint = "")
      : std::runtime_error(what), kind(kind), where(std::move(where)), hint(std::move(hint)) {}

  std::string text() const {
    return (where.empty() ? "" : where + ": ") + what() + (hint.empty() ? "" : "\n  hint: " + hint);
  }

  Kind kind;
  std::string where, hint;
};

inline Error bad_input(const std::string& what, std::string where = "", std::string hint = "") {
  return Error(Kind::bad_input, what, std::move(where), std::move(hint));
}

inline const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::bad_input: return "bad input";
    case Kind::failed: return "backend failed";
    case Kind::internal: break;
  }
  return "internal error";
}

}  // namespace effc
