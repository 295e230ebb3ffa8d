// What memory a domain is accounted for, and whether the host has it: the sum over all domains is never more than the
// host's memory times machine.toml's `memory_overcommit`. What a hostile guest can make of it at most is more, and what
// a control group is for (docs/daemon.md, "Memory").
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "config/engine.hpp"

namespace cloister::toolstack {

/// In MiB. What a domain has beside its RAM and EPC was measured (docs/daemon.md); tests/daemon measures it again.
struct MemoryNeed {
  u64 ram = 0, epc = 0;
  u64 overhead = 0;  ///< of a guest that runs an operating system
  u64 total() const { return ram + epc + overhead; }
};

namespace overhead {
/// The program and its libraries, a kernel's image, which is kept for reboots, and what unpacking it takes.
inline constexpr u64 fixed_mib = 128;
/// TLB, jump cache, stack, and the decoded blocks of usual programs.
inline constexpr u64 vcpu_mib = 32;
/// The same, with as many blocks as silicon/engine/block_cache.cpp lets a guest have.
inline constexpr u64 most_vcpu_mib = 168;
/// Of each processor too, if its guest's code is compiled: as much of the host's as the silicon keeps of it.
inline constexpr u64 code_mib = 64;
/// One part of so many: page states and page tables of RAM; of EPC also the EPCM.
inline constexpr u64 of_ram = 128, of_epc = 32;
}  // namespace overhead

/// `ramdisk_bytes`: of the initramfs, which is kept for reboots.
MemoryNeed memory_need(u64 ram_mib, u64 epc_mib, u32 vcpus, u64 ramdisk_bytes = 0, Engine engine = Engine::interpreter);

/// What no guest can make it exceed.
inline u64 most_mib(const MemoryNeed& need, u32 vcpus) {
  return need.total() + vcpus * (overhead::most_vcpu_mib - overhead::vcpu_mib);
}

struct HostMemory {
  u64 mib = 0;         ///< that this process and its children may have
  std::string origin;  ///< for a person: "the host's memory", or the control group that has less
};

/// MemTotal, or less if a control group limits this process (cgroup v2, memory.max of its own and those above).
/// `root`: where /proc and /sys are.
HostMemory host_memory(const std::string& root = "/");

struct MemoryLimit {
  HostMemory host;
  double overcommit = 1;
  u64 mib() const { return static_cast<u64>(static_cast<double>(host.mib) * overcommit); }
};

struct MemoryHolder {
  std::string name;
  u64 mib = 0;
};

/// The error says what was asked for, what there is, and who holds it.
tl::expected<void, std::string> admit_memory(const MemoryNeed& need, const MemoryLimit& limit,
                                             std::vector<MemoryHolder> holders);

}  // namespace cloister::toolstack
