// The real host: processors and their packages from sysfs (Linux, Documentation/ABI/stable/sysfs-devices-system-cpu),
// CPUID by moving this thread to the processor that is asked.
#include <cpuid.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "machine/host_epc.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;

constexpr const char* cpu_folder = "/sys/devices/system/cpu/cpu";

/// The node is a link or folder "nodeN" beside the processor's other attributes.
u32 node_of(u32 cpu) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(cpu_folder + std::to_string(cpu), ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("node") && name.find_first_not_of("0123456789", 4) == std::string::npos && name.size() > 4)
      return static_cast<u32>(std::stoul(name.substr(4)));
  }
  return 0;
}

/// The number that firmware gave the package; numbers may have gaps.
long package_of(u32 cpu) {
  std::ifstream file(cpu_folder + std::to_string(cpu) + "/topology/physical_package_id");
  long package = 0;
  file >> package;
  return file ? package : 0;
}

/// Moves this thread to one processor, and back at the end.
class On {
 public:
  explicit On(u32 cpu) {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    there_ = sched_setaffinity(0, sizeof one, &one) == 0;
  }
  ~On() { sched_setaffinity(0, sizeof before_, &before_); }
  On(const On&) = delete;
  On& operator=(const On&) = delete;
  bool there() const { return there_; }

 private:
  cpu_set_t before_{};
  bool there_ = false;
};

}  // namespace

HostFacts this_host() {
  HostFacts facts;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  std::map<long, u32> packages;
  for (u32 cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) packages.emplace(package_of(cpu), 0);
  }
  for (u32 next = 0; auto& [id, number] : packages) number = next++;
  for (u32 cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    facts.cpus.push_back({.number = cpu, .package = packages.at(package_of(cpu)), .node = node_of(cpu)});
  }
  facts.cpuid = [](u32 cpu, u32 leaf, u32 subleaf) {
    const On on(cpu);
    arch::CpuidRegs regs;
    if (on.there()) __cpuid_count(leaf, subleaf, regs.eax, regs.ebx, regs.ecx, regs.edx);
    return regs;
  };
  return facts;
}

}  // namespace cloister::toolstack
