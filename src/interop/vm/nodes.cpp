#include "interop/vm/nodes.hpp"

#include <algorithm>

#include "arch/topology.hpp"

namespace cloister::toolstack::vm {

std::vector<GuestNode> guest_nodes(const Vm& vm) {
  if (!vm.nodes.empty()) return vm.nodes;
  u32 highest = 0;
  for (const Epc& epc : vm.epc) highest = std::max(highest, epc.guest_node.value_or(0));
  const u64 count = highest + 1;
  const u64 unit = vm.memory_kib >= count * 1024 ? 1024 : 1;
  std::vector<GuestNode> nodes(count, {.kib = vm.memory_kib / unit / count * unit, .cpus = {}});
  nodes.front().kib = vm.memory_kib - nodes.back().kib * (count - 1);
  const u32 of_node = arch::ids_of_package(vm.vcpus, static_cast<u32>(count));
  for (u32 cpu = 0; cpu < vm.vcpus; ++cpu) nodes[cpu / of_node].cpus.push_back(cpu);
  return nodes;
}

std::optional<u32> cpu_in_two(const std::vector<GuestNode>& nodes) {
  std::vector<u32> all;
  for (const GuestNode& node : nodes) all.insert(all.end(), node.cpus.begin(), node.cpus.end());
  std::ranges::sort(all);
  const auto twice = std::ranges::adjacent_find(all);
  return twice == all.end() ? std::nullopt : std::optional(*twice);
}

bool names_nodes(const Vm& vm) {
  return !vm.nodes.empty() || std::ranges::any_of(vm.epc, [](const Epc& epc) { return epc.guest_node.has_value(); });
}

u64 epc_kib(const Vm& vm) {
  u64 sum = 0;
  for (const Epc& epc : vm.epc) sum += epc.kib;
  return sum;
}

}  // namespace cloister::toolstack::vm
