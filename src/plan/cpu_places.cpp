// The host's node of a package is the one that the machine description gives its first section; processors are in the
// guest's nodes as its SRAT has it.
#include "plan/cpu_places.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "arch/topology.hpp"

namespace cloister::toolstack {

namespace {

using NoPlace = tl::unexpected<std::string>;

tl::expected<CpuSet, std::string> resolve(const CpuList& list, const HostProcessors& host) {
  if (list.empty()) return CpuSet();
  std::set<u32> in, out;
  for (const CpuPart& part : list) {
    std::set<u32>& to = part.out ? out : in;
    for (u32 number = part.first; number <= part.last; ++number) {
      if (part.nodes) {
        const auto node = host.nodes.find(number);
        if (node == host.nodes.end()) return NoPlace(fmt::format("the host has no node {}", number));
        to.insert(node->second.begin(), node->second.end());
      } else if (std::ranges::binary_search(host.online, number)) {
        to.insert(number);
      } else {
        return NoPlace(fmt::format("the host has no processor {}, but {}", number, cpu_set_text(host.online)));
      }
    }
  }
  for (const u32 cpu : out) in.erase(cpu);
  if (in.empty()) return NoPlace(fmt::format("\"{}\" leaves none of the host's processors", to_text(list)));
  return CpuSet(in.begin(), in.end());
}

/// By node of the guest; empty: it has one, or the host does not say.
std::vector<CpuSet> by_package(const MachineDescription& machine, const Grants& grants, const HostProcessors& host) {
  const std::vector<u32> of_grants = packages_of(grants);
  const std::set<u32> packages(of_grants.begin(), of_grants.end());
  std::vector<CpuSet> places;
  if (packages.size() < 2) return places;
  for (const u32 package : packages) {
    CpuSet& place = places.emplace_back();
    if (package >= machine.packages.size() || machine.packages[package].epc.empty()) continue;
    const auto node = host.nodes.find(machine.packages[package].epc.front().node);
    if (node != host.nodes.end()) place = node->second;
  }
  return places;
}

}  // namespace

tl::expected<std::vector<CpuSet>, Diagnostic> place_vcpus(const DomainConfig& config, const MachineDescription& machine,
                                                          const Grants& grants, const HostProcessors& host) {
  std::vector<CpuSet> places(config.vcpus);
  const auto nodes = by_package(machine, grants, host);
  const u32 of_node = arch::ids_of_package(config.vcpus, std::max<u32>(static_cast<u32>(nodes.size()), 1));
  for (u32 i = 0; i < config.vcpus; ++i) {
    const bool own = i < config.cpus.of_vcpu.size();
    auto place = resolve(own ? config.cpus.of_vcpu[i] : config.cpus.all, host);
    if (!place) return tl::unexpected(Diagnostic{config.position_of("cpus"), "'cpus': " + place.error()});
    places[i] = std::move(*place);
    if (!config.where.contains("cpus") && !nodes.empty()) places[i] = nodes[i / of_node];
  }
  return places;
}

CpuSet all_places(const std::vector<CpuSet>& places) {
  std::set<u32> all;
  for (const CpuSet& place : places) {
    if (place.empty()) return {};
    all.insert(place.begin(), place.end());
  }
  return {all.begin(), all.end()};
}

}  // namespace cloister::toolstack
