#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "cpu.hpp"
#include "json.hpp"

namespace effc {
namespace {

constexpr std::size_t kShown = 5;

__attribute__((format(printf, 1, 2))) std::string format(const char* pattern, ...) {
  va_list arguments;
  va_start(arguments, pattern);
  char text[1024];
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

double throughput(const Timing& timing) { return static_cast<double>(timing.batch) * 1e3 / timing.latency.mean; }

std::uint64_t bytes_of_main(const Manifest& manifest) {
  for (const FileInfo& file : manifest.files)
    if (file.path == manifest.main) return file.bytes;
  return 0;
}

Shape shape_of(const View& view) { return Shape(view.shape, view.shape + view.rank); }

std::string first_values(DType dtype, const View& view) {
  std::string made;
  const std::size_t count = view.bytes / dtype.bytes();
  for (std::size_t i = 0; i < std::min(count, kShown); ++i)
    made += format(" %g", as_double(dtype, static_cast<const char*>(view.data) + i * dtype.bytes()));
  return made + (count > kShown ? " .." : "");
}

}  // namespace

std::string timing_text(const Manifest& manifest, const Timing& timing) {
  const Latency& ms = timing.latency;
  return format("%s on %s: %d thread(s), batch %lld, %zu calls\n", manifest.target.c_str(), cpu_name().c_str(),
                timing.threads, static_cast<long long>(timing.batch), timing.calls) +
         format("  ms: mean %.4g  p50 %.4g  p90 %.4g  p95 %.4g  p99 %.4g  min %.4g  max %.4g  std %.4g\n", ms.mean,
                ms.p50, ms.p90, ms.p95, ms.p99, ms.min, ms.max, ms.std) +
         format("  %.6g samples/s, peak memory %.1f MB\n", throughput(timing), peak_rss_mb());
}

std::string timing_json(const Manifest& manifest, const Timing& timing) {
  const Latency& ms = timing.latency;
  return "{\"results\": [{\"target\": " + json::quoted(manifest.target) +
         ", \"artifact\": " + json::quoted(timing.artifact) + ", \"device\": " + json::quoted(cpu_name()) +
         format(", \"threads\": %d, \"batch\": %lld,\n", timing.threads, static_cast<long long>(timing.batch)) +
         format("  \"latency_ms\": {\"mean\": %.9g, \"p50\": %.9g, \"p90\": %.9g, \"p95\": %.9g, \"p99\": %.9g, "
                "\"min\": %.9g, \"max\": %.9g, \"std\": %.9g},\n",
                ms.mean, ms.p50, ms.p90, ms.p95, ms.p99, ms.min, ms.max, ms.std) +
         format("  \"throughput_per_s\": %.9g, \"peak_rss_mb\": %.9g, \"file_bytes\": %llu, \"calls\": %zu}]}\n",
                throughput(timing), peak_rss_mb(), static_cast<unsigned long long>(bytes_of_main(manifest)),
                timing.calls);
}

std::string outputs_text(const Model& model) {
  std::string made;
  for (std::size_t i = 0; i < model.manifest().outputs.size(); ++i) {
    const TensorInfo& info = model.manifest().outputs[i];
    const View view = model.output(i);
    made += info.name + " " + info.dtype.name + " " + spelled(shape_of(view)) + ":" + first_values(info.dtype, view) + "\n";
  }
  return made;
}

std::string outputs_json(const Model& model) {
  std::string made;
  for (std::size_t i = 0; i < model.manifest().outputs.size(); ++i) {
    const TensorInfo& info = model.manifest().outputs[i];
    std::string dims;
    for (const std::int64_t dim : shape_of(model.output(i))) dims += (dims.empty() ? "" : ", ") + std::to_string(dim);
    made += (made.empty() ? "" : ",\n  ") + ("{\"name\": " + json::quoted(info.name) + ", \"dtype\": " +
            json::quoted(info.dtype.name) + ", \"shape\": [" + dims + "]}");
  }
  return "{\"outputs\": [" + made + "]}\n";
}

std::string error_json(const Error& error) {
  return "{\"error\": {\"kind\": " + json::quoted(name_of(error.kind)) +
         format(", \"exit_code\": %d", static_cast<int>(error.kind)) + ", \"what\": " + json::quoted(error.what()) +
         ", \"where\": " + json::quoted(error.where) + ", \"hint\": " + json::quoted(error.hint) + "}}\n";
}

}  // namespace effc
