// What this CPU can do, and which CPUs this process may use.
#pragma once

#include <string>
#include <vector>

namespace effc {

// Marketing name, else the architecture.
std::string cpu_name();

// The words of `needed` (instruction sets by the kernel's names: avx512_vnni, asimddp) that this CPU lacks.
std::string lacking(const std::string& needed);

// The CPUs that this process might use when it was first asked, ascending; never empty.
const std::vector<int>& usable_cpus();

// The last `count` of them, since the first tend to serve the interrupts.
std::vector<int> last_cpus(int count);

// Let this thread run on that CPU alone; where the system forbids it, it runs where it may.
void bind(int cpu);

// Peak resident memory of this process in MiB.
double peak_rss_mb();

}  // namespace effc
