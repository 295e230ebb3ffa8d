#include "hypervisor/saving/state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "policy/policy.hpp"

namespace cloister::hypervisor {
namespace {

/// "RAM: 2 ranges, 16777216 bytes".
std::string text_of(const std::vector<DomainShape::Range>& ranges) {
  u64 bytes = 0;
  for (const auto& range : ranges) bytes += range.bytes;
  return fmt::format("{} bytes in {} ranges", bytes, ranges.size());
}

/// What is a domain's of a leaf: EBX of sub-leaf 1 of 0DH is as XCR0 is when the guest asks (exits/cpuid_answer.hpp),
/// and was written with a component that the domain has not.
DomainShape::Cpuid of_domain(DomainShape::Cpuid row) {
  if (row.leaf == arch::leaf::xsave && row.subleaf == 1) row.ebx = 0;
  return row;
}

/// Every leaf of either that the other has not, or not so.
std::set<std::pair<u32, u32>> differing_leaves(const std::vector<DomainShape::Cpuid>& saved,
                                               const std::vector<DomainShape::Cpuid>& here) {
  std::set<std::pair<u32, u32>> leaves;
  for (const auto& [one, other] : {std::pair(&saved, &here), std::pair(&here, &saved)}) {
    for (const DomainShape::Cpuid& row : *one) {
      if (std::ranges::find(*other, of_domain(row), of_domain) == other->end()) leaves.emplace(row.leaf, row.subleaf);
    }
  }
  return leaves;
}

arch::CpuidRegs regs_of(const std::vector<DomainShape::Cpuid>& rows, u32 leaf, u32 subleaf) {
  const auto row = std::ranges::find_if(rows, [&](const auto& r) { return r.leaf == leaf && r.subleaf == subleaf; });
  return row == rows.end() ? arch::CpuidRegs{} : arch::CpuidRegs{row->eax, row->ebx, row->ecx, row->edx};
}

/// " (without avx, fma; with sgx2)": the features of such a leaf that are not there, and that are there beyond those.
std::string differing_features(const std::vector<DomainShape::Cpuid>& saved,
                               const std::vector<DomainShape::Cpuid>& here, u32 leaf, u32 subleaf) {
  const arch::CpuidRegs then = regs_of(saved, leaf, subleaf), now = regs_of(here, leaf, subleaf);
  std::set<arch::CpuidBit> named;
  std::vector<std::string_view> without, with;
  for (const policy::Feature& feature : policy::features()) {
    if (feature.leaf != leaf || feature.subleaf != subleaf || !named.insert(feature).second) continue;
    if (arch::has(then, feature) && !arch::has(now, feature)) without.push_back(feature.name);
    if (!arch::has(then, feature) && arch::has(now, feature)) with.push_back(feature.name);
  }
  std::string text;
  if (!without.empty()) text += fmt::format("without {}", fmt::join(without, ", "));
  if (!with.empty()) text += fmt::format("{}with {}", text.empty() ? "" : "; ", fmt::join(with, ", "));
  return text.empty() ? text : " (" + text + ")";
}

}  // namespace

DomainShape shape_of(const DomainSpec& spec) {
  DomainShape shape{.vcpus = spec.vcpus,
                    .deterministic = spec.clock == vmx::ClockMode::deterministic,
                    .sgx = spec.msr.sgx,
                    .launch_control = spec.msr.launch_control,
                    .hash_writable = spec.msr.lepubkeyhash_writable,
                    .provision = spec.sgx_provision};
  for (const auto& range : platform::ram_backing(spec.map)) shape.ram.push_back({range.base.value, range.bytes});
  for (const auto& range : spec.map.epc) shape.epc.push_back({range.base.value, range.bytes});
  for (const auto& [where, regs] : spec.cpuid.leaves())
    shape.cpuid.push_back({where.first, where.second, regs.eax, regs.ebx, regs.ecx, regs.edx});
  return shape;
}

std::string difference(const DomainShape& saved, const DomainShape& here) {
  std::string all;
  const auto add = [&all](const std::string& what) { all += (all.empty() ? "" : "; ") + what; };
  const auto compare = [&](const char* what, auto then, auto now) {
    if (then != now) add(fmt::format("{}: found {}, expected {}", what, now, then));
  };
  compare("vCPUs", saved.vcpus, here.vcpus);
  compare("deterministic clock", saved.deterministic, here.deterministic);
  if (saved.ram != here.ram) add(fmt::format("memory: found {}, expected {}", text_of(here.ram), text_of(saved.ram)));
  if (saved.epc != here.epc) add(fmt::format("EPC: found {}, expected {}", text_of(here.epc), text_of(saved.epc)));
  compare("SGX", saved.sgx, here.sgx);
  compare("launch control", saved.launch_control, here.launch_control);
  compare("writable launch-key hash", saved.hash_writable, here.hash_writable);
  compare("provisioning key", saved.provision, here.provision);
  for (const auto& [leaf, subleaf] : differing_leaves(saved.cpuid, here.cpuid))
    add(fmt::format("CPUID: leaf {:#x}.{} differs{}", leaf, subleaf,
                    differing_features(saved.cpuid, here.cpuid, leaf, subleaf)));
  return all;
}

}  // namespace cloister::hypervisor
