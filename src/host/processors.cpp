// sysfs has lists (Documentation/admin-guide/cputopology.rst); sched_setaffinity(2) takes bits.
#include "host/processors.hpp"

#include <sched.h>

#include <filesystem>
#include <fstream>
#include <memory>

#include "text/number_runs.hpp"
#include "text/whole_number.hpp"

namespace cloister {

namespace {

/// More than any Linux has (CONFIG_NR_CPUS).
constexpr u32 most_cpus = 8192;

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
  if (text.empty()) return CpuSet();
  if (text.find('^') != text.npos) return std::nullopt;
  return toolstack::read_runs(text, most_cpus);
}

std::string cpu_set_text(const CpuSet& cpus) {
  std::string text;
  for (const std::string& run : toolstack::runs_of(cpus)) text += (text.empty() ? "" : ",") + run;
  return text;
}

HostProcessors host_processors(const std::string& root) {
  namespace fs = std::filesystem;
  HostProcessors host{.online = set_in(root + "/sys/devices/system/cpu/online"), .nodes = {}};
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(root + "/sys/devices/system/node", absent)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("node")) continue;
    const auto node = toolstack::whole_number<u32>(std::string_view(name).substr(4));
    if (node && *node < most_cpus) host.nodes[*node] = set_in(entry.path() / "cpulist");
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
