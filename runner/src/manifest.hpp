// What the runner needs of `manifest.json`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dtype.hpp"

namespace effc {

struct Dim {
  std::int64_t size;   // -1 where a symbol stands
  std::string symbol;  // the same symbol is the same number everywhere
};

struct TensorInfo {
  std::string name;
  DType dtype;
  std::vector<Dim> shape;
  double scale;  // 0 where not quantized
  std::int32_t zero_point;
};

struct FileInfo {
  std::string path, sha256;
  std::uint64_t bytes;
};

struct Manifest {
  std::string target;  // such as tvm-arm64-int8
  std::string main;    // the library among `files`
  std::string cpu;     // instruction sets that the library needs, by the kernel's names; may be empty
  std::vector<TensorInfo> inputs, outputs;
  std::vector<FileInfo> files;

  // Whether `main` is still to be made.
  bool sealed;
};

// Throws Error that names the file and the field.
Manifest read_manifest(const std::filesystem::path& file);

}  // namespace effc
