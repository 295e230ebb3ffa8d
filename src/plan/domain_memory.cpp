// Sums in MiB: of a terabyte each, of as many domains as there are numbers, they stay far below 64 bits.
#include "plan/domain_memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <numeric>
#include <optional>
#include <sstream>

#include "arch/sizes.hpp"

namespace cloister::toolstack {

namespace {

u64 divided_up(u64 value, u64 by) { return (value + by - 1) / by; }

/// The number that a file begins with.
std::optional<u64> number_in(const std::string& path) {
  std::ifstream file(path);
  u64 number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

/// "MemTotal:  24683956 kB".
u64 total_memory(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string word;
  u64 kib = 0;
  while (file >> word) {
    if (word == "MemTotal:" && file >> kib) return kib / 1024;
  }
  return 0;
}

/// Of cgroup v2, "/" first; empty: none.
std::string own_cgroup(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return {};
}

}  // namespace

MemoryNeed memory_need(u64 ram_mib, u64 epc_mib, u32 vcpus, u64 ramdisk_bytes, Engine engine) {
  const u64 vcpu_mib = overhead::vcpu_mib + (engine == Engine::compiler ? overhead::code_mib : 0);
  return {.ram = ram_mib,
          .epc = epc_mib,
          .overhead = overhead::fixed_mib + vcpus * vcpu_mib + divided_up(ramdisk_bytes, arch::mib) +
                      divided_up(ram_mib, overhead::of_ram) + divided_up(epc_mib, overhead::of_epc)};
}

HostMemory host_memory(const std::string& root) {
  HostMemory memory{.mib = total_memory(root), .origin = "the host's memory"};
  for (std::string group = own_cgroup(root); !group.empty(); group.resize(group.rfind('/'))) {
    const auto most = number_in(root + "/sys/fs/cgroup" + group + "/memory.max");
    if (most && *most / arch::mib < memory.mib)
      memory = {*most / arch::mib, "memory.max of the control group " + group};
  }
  return memory;
}

tl::expected<void, std::string> admit_memory(const MemoryNeed& need, const MemoryLimit& limit,
                                             std::vector<MemoryHolder> holders) {
  const u64 held = std::accumulate(holders.begin(), holders.end(), u64{0},
                                   [](u64 sum, const MemoryHolder& holder) { return sum + holder.mib; });
  const u64 all = limit.mib(), free = all > held ? all - held : 0;
  if (need.total() <= free) return {};
  std::string text = fmt::format(
      "asked for {} MiB ({} of RAM, {} of EPC, {} of overhead), {} MiB are free of {}: {} ({} MiB), memory_overcommit "
      "{}",
      need.total(), need.ram, need.epc, need.overhead, free, all, limit.host.origin, limit.host.mib, limit.overcommit);
  constexpr std::size_t most_named = 8;
  std::ranges::stable_sort(holders, std::ranges::greater(), &MemoryHolder::mib);
  for (std::size_t i = 0; i < std::min(holders.size(), most_named); ++i)
    text += fmt::format("{}{} holds {} MiB", i == 0 ? "; " : ", ", holders[i].name, holders[i].mib);
  if (holders.size() > most_named) text += fmt::format(" and {} more domains the rest", holders.size() - most_named);
  return tl::unexpected(std::move(text));
}

}  // namespace cloister::toolstack
