// The EPC of the host, as its processors enumerate it (SDM vol. 3D, 36.7.2; CPUID leaf 12H, sub-leaves 2 and up).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "arch/cpuid.hpp"
#include "machine/machine.hpp"

namespace cloister::toolstack {

/// A logical processor of the host.
struct HostCpu {
  u32 number = 0;
  u32 package = 0;  ///< counted from 0
  u32 node = 0;     ///< NUMA node
};

/// Where facts of the host come from, so that they can be others in a test.
struct HostFacts {
  std::vector<HostCpu> cpus;  ///< those on which this process may run
  /// CPUID, executed on that processor.
  std::function<arch::CpuidRegs(u32 cpu, u32 leaf, u32 subleaf)> cpuid;
};
/// This host. A processor is asked by moving the calling thread there.
HostFacts this_host();

/// Sections go to packages in their order, if there are as many of both; else all to package 0, for CPUID does not say.
HostEpc host_epc(const HostFacts& facts);

}  // namespace cloister::toolstack
