// The guest gives pages back: they lose their frames as those of eviction do, behind the gate, but only if they are
// free, which ERDINFO tells and changes nothing (SDM vol. 3D, 40.4), or EPA, which changes what is free alone.
#include <algorithm>

#include "hypervisor/epc/pager/pager.hpp"

namespace cloister::hypervisor {

using State = PageRecord::State;

Ballooned Pager::give(std::span<const arch::Gpa> pages) {
  struct Asked {
    EpcPage page;
    std::optional<arch::Mfn> frame;
  };
  Ballooned result;
  std::vector<Asked> all;
  const MutexLock held(lock_);
  for (const arch::Gpa address : pages) {
    const auto page = arch::page_offset(address.value) == 0 ? book_.page_at(address) : std::nullopt;
    const bool twice = page && std::ranges::find(all, *page, &Asked::page) != all.end();
    if (!page || twice || book_[*page].state == State::given) {
      result.stopped = BalloonError::invalid;
      break;
    }
    PageRecord& record = book_[*page];
    if (record.state != State::absent && record.state != State::resident) {
      result.stopped = BalloonError::in_use;
      break;
    }
    all.push_back({*page, memory_.unmap_epc(address)});
    record.state = State::busy;
  }
  if (all.empty()) return result;
  ++busy_;
  {
    const MutexUnlock apart(lock_);
    const ClosedGate closed(gate_);
    const MutexLock handlers(handlers_);
    const MutexLock again(lock_);
    std::optional<BalloonError> why;
    for (const Asked& asked : all) {
      PageRecord& record = book_[asked.page];
      bool stays = why.has_value();
      if (!stays && asked.frame) {
        why = prove_free(*asked.frame);
        stays = why == BalloonError::in_use;
      }
      if (stays) {
        if (asked.frame) [[maybe_unused]]
          const auto mapped = memory_.map_epc(book_.address_of(asked.page), *asked.frame);
        settle(record, asked.frame ? State::resident : State::absent);
        continue;
      }
      if (asked.frame) {
        unpin(asked.page);
        if (!why) free_.add(*asked.frame);
        --counts_.resident;
      }
      mark(record, false);
      record = {};
      settle(record, State::given);
      if (!why) ++result.pages;
    }
    if (why) result.stopped = why;
  }
  --busy_;
  changed_.notify_all();
  return result;
}

Ballooned Pager::take(std::span<const arch::Gpa> pages) {
  Ballooned result;
  const MutexLock held(lock_);
  for (const arch::Gpa address : pages) {
    const auto page = arch::page_offset(address.value) == 0 ? book_.page_at(address) : std::nullopt;
    if (!page || book_[*page].state != State::given) {
      result.stopped = BalloonError::invalid;
      break;
    }
    book_[*page].state = State::absent;
    ++result.pages;
  }
  return result;
}

u64 Pager::given() const { return given_pages().size(); }

std::vector<arch::Gpa> Pager::given_pages() const {
  const MutexLock held(lock_);
  std::vector<arch::Gpa> all;
  for (u64 number = 0; number < book_.pages(); ++number) {
    const PageRecord* const record = book_.find(EpcPage{number});
    if (record == nullptr) {
      number |= PageBook::chunk_pages - 1;
    } else if (record->state == State::given) {
      all.push_back(book_.address_of(EpcPage{number}));
    }
  }
  return all;
}

/// Nullopt: it is free, and has nothing in it.
std::optional<BalloonError> Pager::prove_free(arch::Mfn frame) {
  if (mode_ == PagingMode::trap) return make_free(package_, leaves_, frame);
  alignas(32) arch::Rdinfo info{};
  const vmx::EnclsResult found = encls(arch::EnclsLeaf::erdinfo, {.page = frame, .rdinfo = &info});
  return is(found, arch::SgxError::pg_invld) ? std::nullopt : std::optional(BalloonError::in_use);
}

void Pager::unpin(EpcPage page) {
  for (std::vector<EpcPage>& last : pinned_) book_[page].pins -= static_cast<u8>(std::erase(last, page));
}

}  // namespace cloister::hypervisor
