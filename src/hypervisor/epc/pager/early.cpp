// EPC that leaves early, while the guest runs (epc/moving/movable_epc.hpp): passes over the book, each of which evicts
// what is here a batch at a time and copies images of what is out. A page that was used since the pass before stays, so
// that a guest has what it needs, unless the pass is one that takes all.
//
// That an image was handed out is a mark in the page's record, which a new eviction clears: it writes another image,
// under another version.
#include <algorithm>

#include "hypervisor/epc/pager/pager.hpp"

namespace cloister::hypervisor {

void Pager::begin_early() {
  const MutexLock held(lock_);
  for_each_record([](EpcPage, PageRecord& record) { record.handed_out = false; });
}

u64 Pager::left() const {
  const MutexLock held(lock_);
  u64 pages = 0;
  for (u64 number = 0; number < book_.pages(); ++number) {
    const PageRecord* const record = book_.find(EpcPage{number});
    if (record == nullptr) {
      number |= PageBook::chunk_pages - 1;
      continue;
    }
    const bool out = record->state == PageRecord::State::evicted;
    const bool in = record->state == PageRecord::State::resident || record->state == PageRecord::State::busy;
    pages += (out && !record->handed_out) || in ? 1 : 0;
  }
  return pages;
}

void Pager::begin_pass() {
  const MutexLock held(lock_);
  pass_ = handed_ = 0;
}

/// Of those that the pass has come by.
std::size_t Pager::hand_out(std::span<EarlyPage> to) {
  std::size_t pages = 0;
  for (; handed_ < pass_ && pages < to.size(); ++handed_) {
    const EpcPage page{handed_};
    if (book_.find(page) == nullptr) continue;
    PageRecord& record = book_[page];
    if (record.state != PageRecord::State::evicted || record.handed_out) continue;
    EarlyPage& early = to[pages++];
    early.page = book_.address_of(page);
    std::ranges::copy(backing_.page(record.image), early.image.bytes.begin());
    std::ranges::copy(backing_.pcmd(record.image), early.image.pcmd.begin());
    record.handed_out = true;
  }
  return pages;
}

std::vector<EpcPage> Pager::next_of_pass(bool hot) {
  std::vector<EpcPage> pages;
  for (; pass_ < book_.pages() && pages.size() < batch; ++pass_) {
    const EpcPage page{pass_};
    if (book_.find(page) == nullptr) {
      pass_ |= PageBook::chunk_pages - 1;
      continue;
    }
    PageRecord& record = book_[page];
    if (record.state != PageRecord::State::resident || record.pins != 0) continue;
    const bool used = memory_.take_accessed(book_.address_of(page), 1).front() || record.recent;
    mark(record, false);
    if (!used || hot) pages.push_back(page);
  }
  pass_ = std::min(pass_, book_.pages());
  return pages;
}

std::size_t Pager::leave_early(bool hot, std::span<EarlyPage> to) {
  const MutexLock held(lock_);
  for (;;) {
    if (const std::size_t pages = hand_out(to); pages != 0) return pages;
    if (moving_ || pass_ == book_.pages()) return 0;
    const std::vector<EpcPage> victims = next_of_pass(hot);
    ++busy_;
    evict(victims);
    --busy_;
    changed_.notify_all();
  }
}

bool Pager::has_left_early(arch::Gpa page) const {
  const MutexLock held(lock_);
  const PageRecord* const record = book_.find(*book_.page_at(page));
  return record != nullptr && record->state == PageRecord::State::evicted && record->handed_out;
}

}  // namespace cloister::hypervisor
