#include "hypervisor/epc/pager/page_book.hpp"

namespace cloister::hypervisor {

PageBook::PageBook(EpcPages pages)
    : EpcPages(std::move(pages)), chunks_((this->pages() + chunk_pages - 1) / chunk_pages) {}

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
