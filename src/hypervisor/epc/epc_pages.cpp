// There are few ranges, so they are walked.
#include "hypervisor/epc/epc_pages.hpp"

#include <cassert>

namespace cloister::hypervisor {

EpcPages::EpcPages(std::vector<platform::EpcRange> ranges) : ranges_(std::move(ranges)) {
  for (const platform::EpcRange& range : ranges_) pages_ += range.bytes / arch::page_size;
}

std::optional<EpcPage> EpcPages::page_at(arch::Gpa address) const {
  u64 before = 0;
  for (const platform::EpcRange& range : ranges_) {
    if (address >= range.base && address - range.base < range.bytes)
      return EpcPage{before + (address - range.base) / arch::page_size};
    before += range.bytes / arch::page_size;
  }
  return std::nullopt;
}

std::optional<EpcPlace> EpcPages::place_of(arch::Gpa address) const {
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    if (address >= ranges_[i].base && address - ranges_[i].base < ranges_[i].bytes)
      return EpcPlace{i, (address - ranges_[i].base) / arch::page_size};
  }
  return std::nullopt;
}

arch::Gpa EpcPages::address_of(EpcPage page) const {
  u64 left = page.number;
  for (const platform::EpcRange& range : ranges_) {
    const u64 pages = range.bytes / arch::page_size;
    if (left < pages) return range.base + left * arch::page_size;
    left -= pages;
  }
  assert(false && "a page of this EPC");
  return {};
}

}  // namespace cloister::hypervisor
