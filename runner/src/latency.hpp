// Latency statistics, the same as those of `effc bench`.
#pragma once

#include <functional>
#include <vector>

namespace effc {

// Milliseconds of a call. Percentiles interpolate linearly; `std` divides by the number of calls.
struct Latency {
  double mean, p50, p90, p95, p99, min, max, std;
};

// `ms` holds at least one call.
Latency latency_of(std::vector<double> ms);

// Warm up, then time `iterations` calls, or where that is 0 as many as fill two seconds. Milliseconds of each.
std::vector<double> timed(const std::function<void()>& call, int iterations);

}  // namespace effc
