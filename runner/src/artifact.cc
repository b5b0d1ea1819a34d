#include "artifact.hpp"

#include <algorithm>

#include "cpu.hpp"
#include "elf.hpp"
#include "error.hpp"
#include "sha256.hpp"

namespace effc {
namespace fs = std::filesystem;
namespace {

const char* const kRebuild = "build the artifact again";
const char* const kCopy = "copy the artifact again";

// The word between backend and precision in `tvm-arm64-int8:suffix`.
std::string device_of(const std::string& target) {
  const std::size_t first = target.find('-'), second = target.find('-', first + 1);
  return second == std::string::npos ? "" : target.substr(first + 1, second - first - 1);
}

// Android is a system, not an architecture: there the library itself tells.
void check_target(const Manifest& manifest, const std::string& where) {
  if (manifest.target.rfind("tvm-", 0) != 0)
    throw bad_input("its target is " + manifest.target + ", and effc-run runs tvm-...", where,
                    "`effc run` runs the artifacts of every backend");
  const std::string device = device_of(manifest.target), here = host_architecture();
  if (device != here && device != "android")
    throw bad_input("it is for " + device + " (" + manifest.target + "), this machine is " + here, where,
                    "build for this machine: --target tvm-" + here + "-...");
  if (const std::string absent = lacking(manifest.cpu); !absent.empty())
    throw bad_input("the library needs instructions that this CPU lacks: " + absent, where,
                    "build for this CPU: the target's suffix names it");
}

void check_file(const fs::path& folder, const FileInfo& file) {
  const fs::path path = folder / file.path, plain = fs::path(file.path).lexically_normal();
  const std::string where = path.string();
  if (plain.is_absolute() || plain.empty() || *plain.begin() == "..")
    throw bad_input("it lies outside the artifact", where, kRebuild);
  if (!fs::is_regular_file(path)) throw bad_input("the file is missing", where, kCopy);
  if (const std::uint64_t size = fs::file_size(path); size != file.bytes)
    throw bad_input("it has " + std::to_string(size) + " bytes, the manifest says " + std::to_string(file.bytes), where,
                    kCopy);
  if (sha256(path) != file.sha256)
    throw bad_input("its contents are not those that the manifest names", where, kCopy);
}

}  // namespace

Artifact open_artifact(const fs::path& folder) {
  const fs::path file = folder / "manifest.json";
  Artifact artifact{folder, read_manifest(file)};
  const Manifest& manifest = artifact.manifest;
  if (manifest.sealed)
    throw bad_input("it is a sealed package, not yet an artifact", folder.string(), "`effc build` finishes it");
  check_target(manifest, file.string());
  const auto is_main = [&](const FileInfo& listed) { return listed.path == manifest.main; };
  if (std::none_of(manifest.files.begin(), manifest.files.end(), is_main))
    throw bad_input("it lists no file that could run", file.string(), kRebuild);
  for (const FileInfo& listed : manifest.files) check_file(folder, listed);
  check_library(artifact.library());
  return artifact;
}

}  // namespace effc
