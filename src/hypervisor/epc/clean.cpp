// Taking a domain's EPC back, in two passes.
#include "hypervisor/epc/clean.hpp"

namespace cloister::hypervisor {

namespace {
bool removed(silicon::Package& package, silicon::Mfn frame) {
  const silicon::EnclsResult result = package.eremove(frame);
  return !result.fault && result.rax == 0;
}
}  // namespace

std::vector<silicon::Mfn> clean_epc(silicon::Package& package, std::span<const silicon::EpcSection> sections) {
  std::vector<silicon::Mfn> again;
  for (const silicon::EpcSection& section : sections) {
    for (u64 i = 0; i < section.pages; ++i) {
      if (!removed(package, section.first + i)) again.push_back(section.first + i);
    }
  }
  std::erase_if(again, [&](silicon::Mfn frame) { return removed(package, frame); });
  return again;
}

}  // namespace cloister::hypervisor
