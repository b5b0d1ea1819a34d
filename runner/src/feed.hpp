// Bytes into the inputs of a model, and out of its outputs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model.hpp"

namespace effc {

// Every input from its file. Throws Error for another number of files than inputs, an unreadable one, a wrong size.
void feed_files(Model& model, const std::vector<std::string>& files, std::int64_t batch);

// Every input drawn: floats uniform in [-1, 1), others small and not negative, so that they may index.
void feed_drawn(Model& model, std::int64_t batch);

// Every input from stdin; false where it ends before the first byte. Throws Error where it ends in the midst.
bool feed_stdin(Model& model, std::int64_t batch);

// Each output to its file, or all of them to stdout where the one name is "-".
void write_outputs(const Model& model, const std::vector<std::string>& files);

}  // namespace effc
