// An artifact folder, opened only when it is whole and made for this machine.
#pragma once

#include <filesystem>

#include "manifest.hpp"

namespace effc {

struct Artifact {
  std::filesystem::path folder;
  Manifest manifest;

  std::filesystem::path library() const { return std::filesystem::absolute(folder / manifest.main); }
};

// Throws Error: no manifest or a damaged one; a file that is absent, or of another size or hash than the manifest
// says; a target, a library or instruction sets that are not this machine's.
Artifact open_artifact(const std::filesystem::path& folder);

}  // namespace effc
