// What a host's leaves or a tool's words say of a feature and of the EPC (SDM vol. 2A, CPUID, leaves 7 and 12H; vol.
// 3D, 36.7.2). What is not shown is unknown, unless something that is shown excludes it.
#include "policy/host_view.hpp"

#include <algorithm>

namespace cloister::policy {

using namespace arch;

namespace {

constexpr u32 type = 0xf, epc_section = 1, low = 0xffff'f000, high = 0xf'ffff;  // leaf 12H, sub-leaves 2 and up
constexpr u32 first_section = 2;

/// Excerpts may show what only a processor with SGX shows, and not leaf 7.
bool enumerates_sgx(const CpuidTable& table) {
  return std::ranges::any_of(table.leaves(), [](const auto& entry) {
    const auto& [where, regs] = entry;
    return where.first == leaf::sgx && (where.second == 0 || where.second >= first_section) && (regs.eax & type) != 0;
  });
}

/// Without SGX, or where firmware keeps it off, there is nothing that leaf 12H enumerates.
Known judge(const CpuidTable& table, const CpuidBit& bit) {
  const auto lacks = [&](const char* name) { return table.says(*find_feature(name)) == Known::no; };
  return bit.leaf == leaf::sgx && (lacks("sgx") || lacks("sgx1")) ? Known::no : table.says(bit);
}

Known has_by_leaves(const CpuidTable& table, const CpuidBit& bit) {
  const Known known = judge(table, bit);
  return known == Known::unknown && bit == *find_feature("sgx") && enumerates_sgx(table) ? Known::yes : known;
}

/// The sections that one processor lists. A list that was begun ends with the dump, for its writers stop at the first
/// sub-leaf that is invalid; one that was not begun is unknown.
std::optional<std::vector<EpcSectionView>> sections_of(const CpuidTable& table) {
  std::vector<EpcSectionView> sections;
  for (u32 subleaf = first_section;; ++subleaf) {
    const auto [regs, known] = table.look(leaf::sgx, subleaf);
    if (known == CpuidRegs{} && subleaf == first_section) return std::nullopt;
    if ((regs.eax & type) == 0) return sections;
    const u64 bytes = u64{regs.edx & high} << 32 | (regs.ecx & low);
    if ((regs.eax & type) != epc_section || bytes == 0) continue;
    sections.push_back({.base = u64{regs.ebx & high} << 32 | (regs.eax & low),
                        .bytes = bytes,
                        .property = static_cast<u8>(regs.ecx & type),
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

Known has(const HostView& host, const CpuidBit& bit) {
  Known known = Known::unknown;
  for (const DumpedCpu& cpu : host.cpus) {
    const Known here = has_by_leaves(cpu.table, bit);
    if (here == Known::no) return Known::no;
    if (here == Known::yes) known = Known::yes;
  }
  return known == Known::unknown ? judge(host.named, bit) : known;
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
