#include "options.hpp"

#include <charconv>
#include <map>

#include "error.hpp"

namespace effc {

const char* const kUsage =
    "usage: effc-run ARTIFACT [--input FILE ..] [--output FILE ..] [--bench] [--json]\n"
    "                [--threads N] [--iterations N] [--batch N]\n"
    "\n"
    "Runs a folder that `effc build --target tvm-...` wrote.\n"
    "\n"
    "  --input FILE    an input's bytes: dense, C order, in the manifest's order; once for each input.\n"
    "                  `-` for all of them: stdin holds the inputs of one call after another\n"
    "  --output FILE   where an output's bytes go, once for each output; `-` for all of them: stdout\n"
    "  --bench         time it; without --input on drawn values\n"
    "  --iterations N  timed calls; without it as many as fill two seconds\n"
    "  --threads N     CPU threads, pinned (1)\n"
    "  --batch N       samples in a call, where the artifact leaves that free\n"
    "  --json          one JSON object on stdout\n"
    "\n"
    "Exit codes: 0 done, 1 internal error, 2 usage or bad input, 6 the runtime failed.\n";

namespace {

template <typename T>
T positive(const std::string& option, const std::string& word) {
  T value = 0;
  const char* end = word.data() + word.size();
  const auto [rest, error] = std::from_chars(word.data(), end, value);
  if (error != std::errc() || rest != end || value <= 0) throw bad_input("'" + word + "' is not a positive number", option);
  return value;
}

void check(const Options& options) {
  if (options.artifact.empty()) throw bad_input("no artifact is named", "", "effc-run --help tells how");
  if (options.inputs.empty() && !options.bench)
    throw bad_input("there is nothing to do", "", "give --input for each input, or --bench");
  for (const std::vector<std::string>* files : {&options.inputs, &options.outputs})
    for (const std::string& file : *files)
      if (file == "-" && (files->size() > 1 || options.bench || options.json))
        throw bad_input("`-` stands for all of them, without --bench and --json", "-");
}

}  // namespace

Options parse_options(const std::vector<std::string>& words) {
  Options options;
  const std::map<std::string, bool*> flags = {
      {"--bench", &options.bench}, {"--json", &options.json}, {"--help", &options.help}, {"-h", &options.help}};
  const std::map<std::string, std::vector<std::string>*> lists = {{"--input", &options.inputs},
                                                                  {"--output", &options.outputs}};
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto value = [&] {
      if (i + 1 == words.size()) throw bad_input("a value should follow", word);
      return words[++i];
    };
    if (const auto flag = flags.find(word); flag != flags.end())
      *flag->second = true;
    else if (const auto list = lists.find(word); list != lists.end())
      list->second->push_back(value());
    else if (word == "--threads")
      options.threads = positive<int>(word, value());
    else if (word == "--iterations")
      options.iterations = positive<int>(word, value());
    else if (word == "--batch")
      options.batch = positive<std::int64_t>(word, value());
    else if (word.size() > 1 && word[0] == '-')
      throw bad_input("there is no such option", word, "effc-run --help lists them");
    else if (!options.artifact.empty())
      throw bad_input("one artifact at a time", word);
    else
      options.artifact = word;
  }
  if (!options.help) check(options);
  return options;
}

}  // namespace effc
