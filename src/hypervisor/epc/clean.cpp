// Taking a domain's EPC back, in two passes over the frames that were used.
#include "hypervisor/epc/clean.hpp"

#include <algorithm>

#include "hypervisor/epc/answer.hpp"

namespace cloister::hypervisor {

namespace {
bool removed(vmx::Package& package, vmx::Mfn frame) { return done(package.eremove(frame)); }
}  // namespace

std::vector<vmx::Mfn> clean_epc(vmx::Package& package, std::span<const vmx::EpcSection> sections) {
  const std::vector<vmx::EpcSection> used = package.used_epc();
  std::vector<vmx::Mfn> again;
  for (const vmx::EpcSection& section : sections) {
    const vmx::Mfn section_end = section.first + section.pages;
    // Those that end behind the section's first frame.
    auto run = std::ranges::upper_bound(used, section.first, {}, [](const auto& r) { return r.first + r.pages; });
    for (; run != used.end() && run->first < section_end; ++run) {
      const vmx::Mfn end = std::min(run->first + run->pages, section_end);
      for (vmx::Mfn frame = std::max(run->first, section.first); frame < end; frame = frame + 1) {
        if (!removed(package, frame)) again.push_back(frame);
      }
    }
  }
  std::erase_if(again, [&](vmx::Mfn frame) { return removed(package, frame); });
  return again;
}

}  // namespace cloister::hypervisor
