// There are few ranges, so they are walked.
#include "hypervisor/epc/pager/page_book.hpp"

#include <cassert>

namespace cloister::hypervisor {

PageBook::PageBook(std::vector<platform::EpcRange> ranges) : ranges_(std::move(ranges)) {
  for (const platform::EpcRange& range : ranges_) pages_ += range.bytes / arch::page_size;
  chunks_.resize((pages_ + chunk_pages - 1) / chunk_pages);
}

std::optional<EpcPage> PageBook::page_at(arch::Gpa address) const {
  u64 before = 0;
  for (const platform::EpcRange& range : ranges_) {
    if (address >= range.base && address - range.base < range.bytes)
      return EpcPage{before + (address - range.base) / arch::page_size};
    before += range.bytes / arch::page_size;
  }
  return std::nullopt;
}

arch::Gpa PageBook::address_of(EpcPage page) const {
  u64 left = page.number;
  for (const platform::EpcRange& range : ranges_) {
    const u64 pages = range.bytes / arch::page_size;
    if (left < pages) return range.base + left * arch::page_size;
    left -= pages;
  }
  assert(!"a page of this EPC");
  return {};
}

PageRecord& PageBook::operator[](EpcPage page) {
  std::unique_ptr<Chunk>& chunk = chunks_[page.number / chunk_pages];
  if (chunk == nullptr) chunk = std::make_unique<Chunk>();
  return (*chunk)[page.number % chunk_pages];
}

const PageRecord* PageBook::find(EpcPage page) const {
  const std::unique_ptr<Chunk>& chunk = chunks_[page.number / chunk_pages];
  return chunk == nullptr ? nullptr : &(*chunk)[page.number % chunk_pages];
}

}  // namespace cloister::hypervisor
