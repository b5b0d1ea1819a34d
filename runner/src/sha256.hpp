// SHA-256 (FIPS 180-4) of a file.
#pragma once

#include <filesystem>
#include <string>

namespace effc {

// Hex digest, read in blocks. Throws Error where the file cannot be read.
std::string sha256(const std::filesystem::path& path);

}  // namespace effc
