// What effc-run prints: text for people, or one JSON object with the fields of `effc bench --json`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "error.hpp"
#include "latency.hpp"
#include "model.hpp"

namespace effc {

struct Timing {
  std::string artifact;  // the folder, as it was named
  int threads;
  std::int64_t batch;
  std::size_t calls;
  Latency latency;
};

std::string timing_text(const Manifest& manifest, const Timing& timing);
std::string timing_json(const Manifest& manifest, const Timing& timing);

// Name, type, shape and first values of each output.
std::string outputs_text(const Model& model);
// The same without values.
std::string outputs_json(const Model& model);

std::string error_json(const Error& error);

}  // namespace effc
