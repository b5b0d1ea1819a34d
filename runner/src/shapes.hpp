// The shapes of one call: what the manifest leaves free, settled by --batch and by how long the input files are.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "manifest.hpp"
#include "model.hpp"

namespace effc {

// `bytes`: size of each input's file; absent where there is none: what is free is 1 then.
// `batch`: length of free first axes; 0 where not given. Throws Error that names the input.
std::vector<Shape> settle(const std::vector<TensorInfo>& inputs,
                          const std::vector<std::optional<std::uint64_t>>& bytes, std::int64_t batch);

}  // namespace effc
