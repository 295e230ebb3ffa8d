// Leaf 12H of every processor, compared with that of the first: a page of EPC must be one wherever a domain may run.
#include "machine/host_epc.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace cloister::toolstack {

namespace {

using arch::CpuidRegs;

constexpr u32 sgx_bit = 1u << 2;    // leaf 7, EBX
constexpr u32 sgx1_bit = 1;         // leaf 12H, EAX
constexpr u32 most_subleaves = 64;  // a list that does not end is not believed

/// What one processor says: sub-leaves 0, 1 and the sections. Empty: no SGX, or firmware has switched it off.
using Answers = std::vector<CpuidRegs>;

/// Its family has SGX, whatever firmware made of it.
bool knows_sgx(const HostFacts& facts, u32 cpu) {
  return facts.cpuid(cpu, arch::leaf::basic_max, 0).eax >= arch::leaf::sgx &&
         (facts.cpuid(cpu, arch::leaf::features, 0).ebx & sgx_bit) != 0;
}

bool is_section(const CpuidRegs& regs) { return (regs.eax & 0xf) == 1; }

Answers ask(const HostFacts& facts, u32 cpu) {
  const auto cpuid = [&](u32 leaf, u32 subleaf) { return facts.cpuid(cpu, leaf, subleaf); };
  if (!knows_sgx(facts, cpu)) return {};
  Answers answers{cpuid(arch::leaf::sgx, 0), cpuid(arch::leaf::sgx, 1)};
  if ((answers[0].eax & sgx1_bit) == 0) return {};
  for (u32 subleaf = 2; subleaf < most_subleaves; ++subleaf) {
    const CpuidRegs regs = cpuid(arch::leaf::sgx, subleaf);
    if ((regs.eax & 0xf) == 0) break;  // SDM vol. 2A, CPUID: the first invalid sub-leaf ends the list
    answers.push_back(regs);
  }
  return answers;
}

std::string difference(const HostCpu& first, const Answers& expected, const HostCpu& other, const Answers& found) {
  if (expected.empty() && found.empty()) return {};
  if (expected.empty() || found.empty()) {
    const u32 has = expected.empty() ? other.number : first.number,
              lacks = expected.empty() ? first.number : other.number;
    return fmt::format("processor {} has SGX, processor {} has not", has, lacks);
  }
  if (expected.size() != found.size())
    return fmt::format("processor {} enumerates {} EPC sections, processor {} enumerates {}", first.number,
                       expected.size() - 2, other.number, found.size() - 2);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] != found[i])
      return fmt::format("CPUID 12H.{} differs between processors {} and {}", i, first.number, other.number);
  }
  return {};
}

/// SDM vol. 2A, CPUID leaf 12H, sub-leaves 2 and up.
EpcSectionDescription section_of(const CpuidRegs& regs) {
  EpcSectionDescription section;
  section.base = (u64{regs.ebx & 0xf'ffff} << 32) | (regs.eax & 0xffff'f000);
  section.bytes = (u64{regs.edx & 0xf'ffff} << 32) | (regs.ecx & 0xffff'f000);
  return section;
}

}  // namespace

HostEpc host_epc(const HostFacts& facts) {
  HostEpc host;
  if (facts.cpus.empty()) {
    host.sgx_off = "no processor can be asked";
    return host;
  }
  u32 packages = 1;
  for (const HostCpu& cpu : facts.cpus) packages = std::max(packages, cpu.package + 1);
  host.packages.resize(packages);

  const HostCpu& first = facts.cpus.front();
  const Answers expected = ask(facts, first.number);
  host.sgx = !expected.empty();
  for (const HostCpu& cpu : std::span(facts.cpus).subspan(1)) {
    const Answers found = ask(facts, cpu.number);
    host.sgx |= !found.empty();
    if (host.sgx_off.empty()) host.sgx_off = difference(first, expected, cpu, found);
  }
  if (!host.sgx) {
    host.sgx_off = knows_sgx(facts, first.number)
                       ? "the processors have SGX, and firmware has not enabled it (CPUID 12H.0 EAX bit 0 is 0)"
                       : "the processors have no SGX, or a hypervisor hides it (CPUID 7.0 EBX bit 2 is 0)";
  }
  if (!host.sgx_off.empty()) return host;

  std::vector<EpcSectionDescription> sections;
  for (const CpuidRegs& regs : std::span(expected).subspan(2)) {
    if (is_section(regs) && section_of(regs).bytes != 0) sections.push_back(section_of(regs));
  }
  if (sections.empty()) host.sgx_off = "CPUID 12H enumerates no EPC section";
  for (u32 i = 0; i < sections.size(); ++i) {
    const u32 package = sections.size() == packages ? i : 0;
    const auto there = std::ranges::find(facts.cpus, package, &HostCpu::package);
    sections[i].node = there == facts.cpus.end() ? 0 : there->node;
    host.packages[package].epc.push_back(std::move(sections[i]));
  }
  return host;
}

}  // namespace cloister::toolstack
