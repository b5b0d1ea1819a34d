// What this CPU can do, and which CPUs this process may use.
#pragma once

#include <string>
#include <vector>

namespace effc {

// Marketing name, else the architecture.
std::string cpu_name();

// The words of `needed` (instruction sets by the kernel's names: avx512_vnni, asimddp) that this CPU lacks.
std::string lacking(const std::string& needed);

// The CPUs that this process may use, ascending.
std::vector<int> usable_cpus();

// Bind this process to the last `count` of them and return these. The first ones tend to serve the interrupts.
std::vector<int> pin(int count);

// Peak resident memory of this process in MiB.
double peak_rss_mb();

}  // namespace effc
