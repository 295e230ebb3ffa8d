// sysfs has lists (Documentation/admin-guide/cputopology.rst); sched_setaffinity(2) takes bits.
#include "host/processors.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <memory>

namespace cloister {

namespace {

/// More than any Linux has (CONFIG_NR_CPUS).
constexpr u32 most_cpus = 8192;

std::optional<u32> take_number(std::string_view& text) {
  u32 number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number >= most_cpus) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

CpuSet set_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return read_cpu_set(line).value_or(CpuSet());
}

struct FreeBits {
  void operator()(cpu_set_t* bits) const { CPU_FREE(bits); }
};
using Bits = std::unique_ptr<cpu_set_t, FreeBits>;

}  // namespace

std::optional<CpuSet> read_cpu_set(std::string_view text) {
  CpuSet cpus;
  while (!text.empty()) {
    const auto first = take_number(text);
    if (!first) return std::nullopt;
    u32 last = *first;
    if (text.starts_with('-')) {
      text.remove_prefix(1);
      const auto end = take_number(text);
      if (!end || *end < *first) return std::nullopt;
      last = *end;
    }
    for (u32 cpu = *first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (text.empty()) break;
    if (!text.starts_with(',') || text.size() == 1) return std::nullopt;
    text.remove_prefix(1);
  }
  std::ranges::sort(cpus);
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::string cpu_set_text(const CpuSet& cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(cpus[i]);
    if (last != i) text += '-' + std::to_string(cpus[last]);
    i = last + 1;
  }
  return text;
}

HostProcessors host_processors(const std::string& root) {
  namespace fs = std::filesystem;
  HostProcessors host{.online = set_in(root + "/sys/devices/system/cpu/online"), .nodes = {}};
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(root + "/sys/devices/system/node", absent)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("node")) continue;
    std::string_view digits = std::string_view(name).substr(4);
    const auto node = take_number(digits);
    if (node && digits.empty()) host.nodes[*node] = set_in(entry.path() / "cpulist");
  }
  return host;
}

CpuSet cpus_of_thread() {
  const Bits bits(CPU_ALLOC(most_cpus));
  const std::size_t size = CPU_ALLOC_SIZE(most_cpus);
  CpuSet cpus;
  if (bits == nullptr || ::sched_getaffinity(0, size, bits.get()) != 0) return cpus;
  for (u32 cpu = 0; cpu < most_cpus; ++cpu) {
    if (CPU_ISSET_S(cpu, size, bits.get())) cpus.push_back(cpu);
  }
  return cpus;
}

bool run_on_cpus(const CpuSet& cpus) {
  const Bits bits(CPU_ALLOC(most_cpus));
  const std::size_t size = CPU_ALLOC_SIZE(most_cpus);
  if (bits == nullptr) return false;
  CPU_ZERO_S(size, bits.get());
  for (const u32 cpu : cpus) {
    if (cpu < most_cpus) CPU_SET_S(cpu, size, bits.get());
  }
  return ::sched_setaffinity(0, size, bits.get()) == 0;
}

}  // namespace cloister
