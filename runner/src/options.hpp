// The command line of effc-run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace effc {

struct Options {
  std::string artifact;
  std::vector<std::string> inputs, outputs;  // files in the manifest's order; "-" is stdin, stdout
  bool bench = false, json = false, help = false;
  int threads = 1;
  int iterations = 0;  // 0: as many as fill two seconds
  std::int64_t batch = 0;  // 0: as the input's size says, else 1
};

extern const char* const kUsage;

// Throws Error that names the word.
Options parse_options(const std::vector<std::string>& words);

}  // namespace effc
