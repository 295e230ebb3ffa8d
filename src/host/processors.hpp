// The host's processors by number: which are on which NUMA node, and which of them a thread may run on.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/types.hpp"

namespace cloister {

/// Numbers in ascending order.
using CpuSet = std::vector<u32>;

struct HostProcessors {
  CpuSet online;
  std::map<u32, CpuSet> nodes;  ///< none: the host does not say
};
/// root: where sysfs is looked for, for tests.
HostProcessors host_processors(const std::string& root = {});

/// The kernel's form, "0-3,8", in both directions. Nullopt: it is another one.
std::optional<CpuSet> read_cpu_set(std::string_view text);
std::string cpu_set_text(const CpuSet& cpus);

/// Where the calling thread may run; threads that it makes begin with the same. Empty: it cannot be told.
CpuSet cpus_of_thread();
/// False: the kernel has none of them for this thread, and nothing is changed.
bool run_on_cpus(const CpuSet& cpus);

}  // namespace cloister
