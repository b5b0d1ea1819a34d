// effc-run: one artifact, run or timed on the machine that it is for.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "artifact.hpp"
#include "feed.hpp"
#include "latency.hpp"
#include "model.hpp"
#include "options.hpp"
#include "report.hpp"

namespace effc {
namespace {

// The kernels may use instructions that no manifest announced.
void on_illegal_instruction(int) {
  constexpr char text[] =
      "error (backend failed): the library uses instructions that this CPU lacks\n"
      "  hint: build for this CPU: the target's suffix names it\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, sizeof text - 1);
  _exit(static_cast<int>(Kind::failed));
}

void print(const std::string& text) { std::fputs(text.c_str(), stdout); }

std::int64_t batch_of(const Model& model) {
  for (std::size_t i = 0; i < model.manifest().inputs.size(); ++i)
    if (const Shape& shape = model.shape(i); !shape.empty()) return shape[0];
  return 1;
}

void bench(Model& model, const Options& options) {
  const std::vector<double> ms = timed([&] { model.run(); }, options.iterations);
  const Timing timing{options.artifact, options.threads, batch_of(model), ms.size(), latency_of(ms)};
  print(options.json ? timing_json(model.manifest(), timing) : timing_text(model.manifest(), timing));
}

void stream(Model& model, const Options& options) {
  while (feed_stdin(model, options.batch)) {
    model.run();
    if (options.outputs.empty())
      print(outputs_text(model));
    else
      write_outputs(model, options.outputs);
  }
}

void once(Model& model, const Options& options) {
  if (options.inputs.empty())
    feed_drawn(model, options.batch);
  else
    feed_files(model, options.inputs, options.batch);
  if (options.bench)
    bench(model, options);
  else
    model.run();
  if (!options.outputs.empty()) write_outputs(model, options.outputs);
  const bool to_stdout = options.outputs.size() == 1 && options.outputs[0] == "-";
  if (!options.bench && !to_stdout) print(options.json ? outputs_json(model) : outputs_text(model));
}

void act(const Options& options) {
  if (options.help) return print(kUsage);
  Model model(open_artifact(options.artifact), options.threads);
  if (options.inputs.size() == 1 && options.inputs[0] == "-") return stream(model, options);
  once(model, options);
}

int complain(const Error& error, bool as_json) {
  if (as_json)
    print(error_json(error));
  else
    std::fprintf(stderr, "error (%s): %s\n", name_of(error.kind), error.text().c_str());
  return static_cast<int>(error.kind);
}

int run(const std::vector<std::string>& words) {
  const bool as_json = std::find(words.begin(), words.end(), "--json") != words.end();
  try {
    act(parse_options(words));
    return 0;
  } catch (const Error& error) {
    return complain(error, as_json);
  } catch (const std::bad_alloc&) {
    return complain(bad_input("no memory is left"), as_json);
  } catch (const std::exception& error) {
    return complain(Error(Kind::internal, error.what()), as_json);
  }
}

}  // namespace
}  // namespace effc

int main(int argc, char** argv) {
  std::signal(SIGILL, effc::on_illegal_instruction);
  return effc::run({argv + 1, argv + argc});
}
