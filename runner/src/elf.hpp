// Whether an ELF shared library is whole and made for this machine, found without loading it.
#pragma once

#include <filesystem>
#include <string>

namespace effc {

// This program's own architecture, as targets spell it: x86, arm64, armv7.
std::string host_architecture();

// Throws Error: no ELF library, one that is cut short (loading it could end in SIGBUS), or one for another machine.
void check_library(const std::filesystem::path& path);

}  // namespace effc
