#include "elf.hpp"

#include <elf.h>

#include <cstring>
#include <fstream>

#include "error.hpp"

namespace effc {
namespace {

#if defined(__x86_64__)
constexpr int kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr int kMachine = EM_AARCH64;
#elif defined(__arm__)
constexpr int kMachine = EM_ARM;
#else
#error "effc-run knows x86-64, aarch64 and 32-bit ARM"
#endif

#if defined(__LP64__)
using Header = Elf64_Ehdr;
using Segment = Elf64_Phdr;
constexpr unsigned char kClass = ELFCLASS64;
#else
using Header = Elf32_Ehdr;
using Segment = Elf32_Phdr;
constexpr unsigned char kClass = ELFCLASS32;
#endif

std::string name_of(int machine) {
  switch (machine) {
    case EM_X86_64: return "x86";
    case EM_AARCH64: return "arm64";
    case EM_ARM: return "armv7";
    default: return "ELF machine " + std::to_string(machine);
  }
}

template <typename T>
T read(std::ifstream& stream, std::uint64_t at) {
  T value{};
  stream.seekg(static_cast<std::streamoff>(at));
  stream.read(reinterpret_cast<char*>(&value), sizeof value);
  return value;
}

}  // namespace

std::string host_architecture() { return name_of(kMachine); }

void check_library(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::uint64_t size = std::filesystem::file_size(path);
  const auto cut = [&] { return bad_input("the library is cut short", path.string(), "copy the artifact again"); };
  const Header header = read<Header>(stream, 0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || !(header.e_type == ET_DYN || size < sizeof header))
    throw bad_input("it is no shared library", path.string(), "build the artifact again");
  if (header.e_machine != kMachine || header.e_ident[EI_CLASS] != kClass)
    throw bad_input("it is for " + name_of(header.e_machine) + ", this machine is " + name_of(kMachine), path.string(),
                    "build for this machine: --target tvm-" + name_of(kMachine) + "-...");
  if (!stream || header.e_phentsize != sizeof(Segment)) throw cut();
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const auto segment = read<Segment>(stream, header.e_phoff + std::uint64_t{i} * sizeof(Segment));
    if (!stream || segment.p_offset > size || segment.p_filesz > size - segment.p_offset) throw cut();
  }
}

}  // namespace effc
