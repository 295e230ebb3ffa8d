// Taking a domain's EPC back, in two passes over the frames that were used.
#include "hypervisor/epc/clean.hpp"

#include <algorithm>

#include "silicon/used_epc.hpp"

namespace cloister::hypervisor {

namespace {
bool removed(silicon::Package& package, silicon::Mfn frame) {
  const silicon::EnclsResult result = package.eremove(frame);
  return !result.fault && result.rax == 0;
}
}  // namespace

std::vector<silicon::Mfn> clean_epc(silicon::Package& package, std::span<const silicon::EpcSection> sections) {
  const std::vector<silicon::EpcSection> used = silicon::used_epc(package);
  std::vector<silicon::Mfn> again;
  for (const silicon::EpcSection& section : sections) {
    const silicon::Mfn section_end = section.first + section.pages;
    // Those that end behind the section's first frame.
    auto run = std::ranges::upper_bound(used, section.first, {}, [](const auto& r) { return r.first + r.pages; });
    for (; run != used.end() && run->first < section_end; ++run) {
      const silicon::Mfn end = std::min(run->first + run->pages, section_end);
      for (silicon::Mfn frame = std::max(run->first, section.first); frame < end; frame = frame + 1) {
        if (!removed(package, frame)) again.push_back(frame);
      }
    }
  }
  std::erase_if(again, [&](silicon::Mfn frame) { return removed(package, frame); });
  return again;
}

}  // namespace cloister::hypervisor
