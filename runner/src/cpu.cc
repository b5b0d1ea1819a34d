#include "cpu.hpp"

#include <sched.h>
#include <sys/resource.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "elf.hpp"

namespace effc {
namespace {

// The value of the first line "key : value" of a file of /proc.
std::string field(const char* file, const std::string& key) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    const std::size_t colon = line.find(':');
    if (line.compare(0, key.size(), key) != 0 || colon == std::string::npos) continue;
    const std::size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::set<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

std::vector<int> allowed() {
  cpu_set_t set;
  std::vector<int> found;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) found.push_back(cpu);
  return found.empty() ? std::vector<int>{0} : found;
}

#if defined(__aarch64__)
// From the auxiliary vector, which emulators keep right where they show the /proc/cpuinfo of their host.
std::set<std::string> features() {
  const unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
  std::set<std::string> found;
  const auto add = [&](const char* name, unsigned long word, int bit) {
    if (word >> bit & 1) found.insert(name);
  };
  add("asimd", one, 1), add("fphp", one, 9), add("asimdhp", one, 10), add("asimddp", one, 20), add("sve", one, 22);
  add("sve2", two, 1), add("i8mm", two, 13), add("bf16", two, 14);
  return found;
}
#elif defined(__arm__)
std::set<std::string> features() { return words(field("/proc/cpuinfo", "Features")); }
#else
std::set<std::string> features() { return words(field("/proc/cpuinfo", "flags")); }
#endif

}  // namespace

std::string cpu_name() {
  const std::string name = field("/proc/cpuinfo", "model name");
  return name.empty() ? host_architecture() : name;
}

std::string lacking(const std::string& needed) {
  const std::set<std::string> has = features();
  std::string found;
  for (const std::string& name : words(needed))
    if (!has.count(name)) found += (found.empty() ? "" : " ") + name;
  return found;
}

const std::vector<int>& usable_cpus() {
  static const std::vector<int> found = allowed();  // before `bind` narrowed it
  return found;
}

std::vector<int> last_cpus(int count) {
  const std::vector<int>& all = usable_cpus();
  return {all.end() - std::min<std::ptrdiff_t>(count, static_cast<std::ptrdiff_t>(all.size())), all.end()};
}

void bind(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

double peak_rss_mb() {
  const std::string kilobytes = field("/proc/self/status", "VmHWM");
  if (!kilobytes.empty()) return std::strtod(kilobytes.c_str(), nullptr) / 1024;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace effc
