#include "latency.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace effc {
namespace {

constexpr double kWarmUpMs = 100, kMeasureMs = 2000;

double percentile(const std::vector<double>& sorted, double percent) {
  const double at = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const double above = sorted[std::min(below + 1, sorted.size() - 1)];
  return sorted[below] + (at - static_cast<double>(below)) * (above - sorted[below]);
}

double milliseconds(const std::function<void()>& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Latency latency_of(std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const auto count = static_cast<double>(ms.size());
  const double mean = std::accumulate(ms.begin(), ms.end(), 0.0) / count;
  double squares = 0;
  for (const double value : ms) squares += (value - mean) * (value - mean);
  const auto at = [&](double percent) { return percentile(ms, percent); };
  return {mean, at(50), at(90), at(95), at(99), ms.front(), ms.back(), std::sqrt(squares / count)};
}

std::vector<double> timed(const std::function<void()>& call, int iterations) {
  for (double spent = 0; spent < kWarmUpMs;) spent += milliseconds(call);
  std::vector<double> found;
  double spent = 0;
  while (iterations ? found.size() < static_cast<std::size_t>(iterations) : spent < kMeasureMs) {
    found.push_back(milliseconds(call));
    spent += found.back();
  }
  return found;
}

}  // namespace effc
