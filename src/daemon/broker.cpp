// A dead domain's pages are cleaned by a Package of the broker's own, on the memory that it kept.
#include "daemon/broker.hpp"

#include <algorithm>
#include <cassert>

#include "arch/sizes.hpp"
#include "arch/try.hpp"
#include "hypervisor/epc/clean.hpp"

namespace cloister::toolstack {

namespace {

EpcOwner owner_of(u32 id) { return EpcOwner{static_cast<u16>(id)}; }

/// Of all EPC sections that the package enumerates (CPUID leaf 12H, sub-leaves 2 and up; SDM vol. 2A, CPUID).
u64 pages_in(const vmx::Package& package) {
  constexpr u32 first_section = 2, type_mask = 15, type_section = 1;
  u64 bytes = 0;
  for (u32 subleaf = first_section;; ++subleaf) {
    const vmx::CpuidRegs regs = package.cpuid(arch::leaf::sgx, subleaf);
    if ((regs.eax & type_mask) != type_section) return bytes / arch::page_size;
    bytes += (regs.ecx & 0xffff'f000) | (u64{regs.edx & 0xf'ffff} << 32);
  }
}

}  // namespace

tl::expected<Broker, std::string> Broker::create(const Processors& processors, MachineDescription machine) {
  auto accounts = MachineEpc::create(epc_spec(machine));
  if (!accounts) return tl::unexpected("machine description: " + accounts.error());
  return Broker(processors, std::move(machine), std::move(*accounts));
}

tl::expected<EpcAllocation, Shortage> Broker::allocate(u32 id, const std::vector<EpcSection>& sections,
                                                       std::span<const u64> kept,
                                                       const std::function<std::string(u32 id)>& name_of_domain) {
  if (sections.empty()) return EpcAllocation{.grants = {}, .reason = "no EPC asked for"};
  std::vector<EpcRequest> requests;
  for (const EpcSection& section : sections) requests.push_back({section.mib * arch::pages_per_mib, section.package});
  auto allocation = accounts_.allocate(owner_of(id), requests, kept);
  if (allocation) return std::move(*allocation);
  std::string message =
      describe(allocation.error(), [&](EpcOwner owner) { return name_of_domain(static_cast<u16>(owner)); });
  if (!machine_.sgx_off.empty()) message += "; this machine has no EPC: " + machine_.sgx_off;
  return tl::unexpected(Shortage{std::move(message), allocation.error().why == EpcRefusal::Why::shortage});
}

std::vector<EpcExtent> Broker::in_sections(const std::vector<EpcExtent>& extents) const {
  const std::vector<MachineSection> sections = epc_spec(machine_).sections;
  std::vector<EpcExtent> here;
  for (const EpcExtent& extent : extents) {
    for (const MachineSection& section : sections) {
      const u64 at = section.frames.first.value;
      const u64 first = std::max(extent.first.value, at);
      const u64 end = std::min(extent.first.value + extent.pages, at + section.frames.pages);
      if (first < end) here.push_back({arch::Mfn{first}, end - first});
    }
  }
  return here;
}

tl::expected<u64, std::string> Broker::reserve(u32 id, const Grants& grants) {
  const std::vector<EpcExtent> here = in_sections(sections_of(grants));
  u64 absent = pages_of(grants);
  for (const EpcExtent& extent : here) absent -= extent.pages;
  TRY(accounts_.reserve(owner_of(id), here));
  return absent;
}

std::vector<EpcExtent> Broker::lend(u32 id, u32 package, u64 pages) {
  const EpcRequest request{pages, package};
  auto allocation = accounts_.allocate(owner_of(id), std::span(&request, 1));
  return allocation ? std::move(allocation->grants.front().extents) : std::vector<EpcExtent>();
}

void Broker::take_back(u32 id, const std::vector<EpcExtent>& frames) {
  for (const EpcExtent& row : in_sections(frames)) {
    [[maybe_unused]] const auto freed = accounts_.release(owner_of(id), row);
    assert(freed);
  }
}

std::vector<EpcExtent> Broker::frames_of(u32 id) const { return accounts_.extents_of(owner_of(id)); }

void Broker::release(u32 id) { accounts_.release(owner_of(id)); }

bool Broker::withdraw(u64 frame) { return accounts_.withdraw(arch::Mfn{frame}).has_value(); }

tl::expected<std::vector<u64>, std::string> Broker::clean(const vmx::Backend& silicon, const PackageValues& values,
                                                          const Grants& grants, const vmx::EpcMemory::Pointer& memory) {
  vmx::Package::Config config = package_config(values, grants);
  config.memory = memory;
  const auto package = silicon.make_package(std::move(config));
  // A package without room for what it notes of each page has no EPC.
  if (pages_in(*package) != package_pages(values, grants))
    return tl::unexpected(std::string("no memory for the package's pages"));
  std::vector<u64> stuck;
  const std::vector<vmx::EpcSection> own = sections_of(grants), listed = package_sections(values, grants);
  for (const arch::Mfn frame : hypervisor::clean_epc(*package, listed)) {
    // Of frames that are not the domain's there is nothing in this memory that anybody else could meet.
    const bool ours = std::ranges::any_of(
        own, [&](const vmx::EpcSection& row) { return frame >= row.first && frame - row.first < row.pages; });
    if (ours) stuck.push_back(frame.value);
  }
  return stuck;
}

}  // namespace cloister::toolstack
