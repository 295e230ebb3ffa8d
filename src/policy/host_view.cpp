// What a host's leaves or a tool's words say of a feature and of the EPC (SDM vol. 2A, CPUID, leaves 7 and 12H; vol.
// 3D, 36.7.2). What is not shown is unknown, unless something that is shown excludes it.
#include "policy/host_view.hpp"

#include <algorithm>

#include "policy/feature_rows.hpp"
#include "policy/leaves.hpp"

namespace cloister::policy {

using namespace arch;

namespace {

constexpr u32 type = 0xf, epc_section = 1, low = 0xffff'f000, high = 0xf'ffff;  // leaf 12H, sub-leaves 2 and up
constexpr u32 first_section = 2;

/// The registers of a leaf that a dump shows, or zeros where it shows that there is no such leaf.
std::optional<CpuidRegs> shown(const CpuidTable& table, u32 leaf, u32 subleaf) {
  const auto& leaves = table.leaves();
  if (const auto entry = leaves.find({leaf, has_subleaves(leaf) ? subleaf : 0}); entry != leaves.end())
    return entry->second;
  const auto range = leaves.find({leaf & 0xc000'0000, 0});
  if (range != leaves.end() && leaf > range->second.eax) return CpuidRegs{};
  const auto structured = leaves.find({leaf::features, 0});
  if (leaf == leaf::features && structured != leaves.end() && subleaf > structured->second.eax) return CpuidRegs{};
  return std::nullopt;
}

Known bit(const CpuidTable& table, const Feature& feature) {
  const auto regs = shown(table, feature.leaf, feature.subleaf);
  if (!regs) return Known::unknown;
  return (value_of(*regs, feature.reg) >> feature.bit & 1) != 0 ? Known::yes : Known::no;
}

/// Excerpts may show what only a processor with SGX shows, and not leaf 7.
bool enumerates_sgx(const CpuidTable& table) {
  return std::ranges::any_of(table.leaves(), [](const auto& entry) {
    const auto& [where, regs] = entry;
    return where.first == leaf::sgx && (where.second == 0 || where.second >= first_section) && (regs.eax & type) != 0;
  });
}

Known has_by_leaves(const CpuidTable& table, const Feature& feature) {
  const Feature &sgx = *find_feature("sgx"), &sgx1 = *find_feature("sgx1");
  const Known known = bit(table, feature);
  const bool asks_sgx = feature.leaf == sgx.leaf && feature.reg == sgx.reg && feature.bit == sgx.bit;
  if (asks_sgx && known == Known::unknown && enumerates_sgx(table)) return Known::yes;
  if (feature.leaf == leaf::sgx && (bit(table, sgx) == Known::no || bit(table, sgx1) == Known::no)) return Known::no;
  return known;
}

Known has_by_name(const HostView& host, const Feature& feature) {
  const auto says = [&](const std::string& name) {
    const auto found = host.named.find(name);
    if (found == host.named.end()) return Known::unknown;
    return found->second ? Known::yes : Known::no;
  };
  if (feature.leaf == leaf::sgx && (says("sgx") == Known::no || says("sgx1") == Known::no)) return Known::no;
  return says(first_name(feature));
}

/// The sections that one processor lists. A list that was begun ends with the dump, for its writers stop at the first
/// sub-leaf that is invalid; one that was not begun is unknown.
std::optional<std::vector<EpcSectionView>> sections_of(const CpuidTable& table) {
  std::vector<EpcSectionView> sections;
  for (u32 subleaf = first_section;; ++subleaf) {
    const auto regs = shown(table, leaf::sgx, subleaf);
    if (!regs && subleaf == first_section) return std::nullopt;
    if (!regs || (regs->eax & type) == 0) return sections;
    const u64 bytes = u64{regs->edx & high} << 32 | (regs->ecx & low);
    if ((regs->eax & type) != epc_section || bytes == 0) continue;
    sections.push_back({.base = u64{regs->ebx & high} << 32 | (regs->eax & low),
                        .bytes = bytes,
                        .property = static_cast<u8>(regs->ecx & type),
                        .node = std::nullopt});
  }
}

/// A node's sections are those whose bytes are the node's: all of them if one node has everything, else one section a
/// node, where sizes leave a choice in the order of both. Else nobody says.
void place(std::vector<EpcSectionView>& sections, const std::map<u32, u64>& node_bytes) {
  std::vector<std::pair<u32, u64>> nodes;
  for (const auto& node : node_bytes) {
    if (node.second != 0) nodes.emplace_back(node);
  }
  u64 total = 0;
  for (const EpcSectionView& section : sections) total += section.bytes;
  if (nodes.size() == 1 && nodes[0].second == total) {
    for (EpcSectionView& section : sections) section.node = nodes[0].first;
    return;
  }
  for (EpcSectionView& section : sections) {
    const auto node = std::ranges::find(nodes, section.bytes, &std::pair<u32, u64>::second);
    if (node == nodes.end()) continue;
    section.node = node->first;
    nodes.erase(node);
  }
}

}  // namespace

std::string first_name(const Feature& feature) {
  const FeatureRow* const row = row_of(feature);
  return std::string(row == nullptr ? feature.name : row->name);
}

Known has(const HostView& host, const Feature& feature) {
  Known known = Known::unknown;
  for (const DumpedCpu& cpu : host.cpus) {
    const Known here = has_by_leaves(cpu.table, feature);
    if (here == Known::no) return Known::no;
    if (here == Known::yes) known = Known::yes;
  }
  return known == Known::unknown ? has_by_name(host, feature) : known;
}

std::optional<std::vector<EpcSectionView>> epc_of(const HostView& host) {
  if (host.epc) return host.epc;
  if (has(host, *find_feature("sgx")) == Known::no || has(host, *find_feature("sgx1")) == Known::no)
    return std::vector<EpcSectionView>{};
  if (host.cpus.empty()) return std::nullopt;
  auto sections = sections_of(host.cpus.front().table);
  if (sections && host.environment) place(*sections, host.environment->node_bytes);
  return sections;
}

std::string property_words(u8 property) {
  switch (property) {
    case 0: return "not said";
    case 1: return "confidentiality and integrity";
    case 2: return "confidentiality";
    default: return {};
  }
}

}  // namespace cloister::policy
