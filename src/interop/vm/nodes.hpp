// NUMA in a Vm: lists of nodes as libvirt and QEMU write them, and the guest's nodes, which follow from its EPC.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "interop/vm/vm.hpp"
#include "text/number_runs.hpp"

namespace cloister::toolstack::vm {

/// What is read of a stranger's machine at most; Linux and QEMU count no further.
inline constexpr u32 most_host_nodes = 1024, most_guest_nodes = 128, most_vcpus = 4096, most_sections = 1024;

/// The numbers of nodes below `most_host_nodes`.
inline std::optional<std::vector<u32>> read_nodes(std::string_view text) { return read_runs(text, most_host_nodes); }
/// The numbers of processors below `most_vcpus`.
inline std::optional<std::vector<u32>> read_cpus(std::string_view text) { return read_runs(text, most_vcpus); }
/// The guest's own nodes; else as many as the EPC names, one at least: RAM is divided evenly in MiB, the rest is node
/// 0's, and processors as in a domain (docs/configuration.md, "epc").
std::vector<GuestNode> guest_nodes(const Vm& vm);
/// A processor that is in two of them, which neither libvirt nor QEMU takes.
std::optional<u32> cpu_in_two(const std::vector<GuestNode>& nodes);
/// There are nodes, or some section names one.
bool names_nodes(const Vm& vm);

/// KiB in all sections.
u64 epc_kib(const Vm& vm);

}  // namespace cloister::toolstack::vm
