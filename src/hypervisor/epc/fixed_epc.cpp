// Frames stay in their range, which has those of one package of the machine's.
#include "hypervisor/epc/fixed_epc.hpp"

#include <algorithm>
#include <cassert>

namespace cloister::hypervisor {

using arch::Gpa;
using arch::Mfn;

FixedEpc::FixedEpc(Domain domain)
    : domain_(std::move(domain)), counts_(domain_.counts == nullptr ? own_counts_ : *domain_.counts) {
  const MutexLock held(lock_);
  assert(domain_.frames.size() == domain_.pages.ranges());
  for (std::size_t i = 0; i < domain_.frames.size(); ++i) {
    Range& range = ranges_.emplace_back(Range{.held = FrameSet(domain_.frames[i])});
    range.missing = domain_.pages.pages_in(i) - range.held.pages();
    show(i);
  }
}

void FixedEpc::show(std::size_t range) {
  if (range >= BalloonCounts::most_ranges) return;
  const Range& now = ranges_[range];
  counts_.needs[range] = now.held.pages() - now.spare.size() + now.wanted + now.missing;
}

Ballooned FixedEpc::give(std::span<const Gpa> pages) {
  Ballooned result;
  std::vector<Mfn> frames;
  {
    const MutexLock held(lock_);
    over_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return !giving_; });
    for (const Gpa page : pages) {
      const auto frame = frame_now(page);
      const auto before = pages.first(frames.size());
      if (!frame || arch::page_offset(page.value) != 0 || std::ranges::find(before, page) != before.end()) {
        result.stopped = BalloonError::invalid;
        break;
      }
      frames.push_back(*frame);
    }
    if (frames.empty()) return result;
    giving_ = true;
  }
  for (std::size_t i = 0; i < frames.size(); ++i) domain_.memory.unmap_epc(pages[i]);
  {
    const ClosedGate closed(domain_.gate);
    const MutexLock handlers(domain_.handlers);
    const MutexLock held(lock_);
    std::size_t done = 0;
    for (std::optional<BalloonError> why; done < frames.size() && !why; ++done) {
      why = make_free(domain_.package, domain_.leaves, frames[done]);
      if (why) result.stopped = why;
      if (why == BalloonError::in_use) break;
      const std::size_t range = domain_.pages.place_of(pages[done])->range;
      own_[pages[done]] = std::nullopt;
      ++ranges_[range].given;
      ranges_[range].wanted = 0;
      if (!why) {
        ranges_[range].spare.push_back(frames[done]);
        ++result.pages;
      }
      show(range);
    }
    for (; done < frames.size(); ++done) {
      [[maybe_unused]] const auto mapped = domain_.memory.map_epc(pages[done], frames[done]);
    }
    giving_ = false;
  }
  over_.notify_all();
  return result;
}

Ballooned FixedEpc::take(std::span<const Gpa> pages) {
  Ballooned result;
  const MutexLock held(lock_);
  over_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return !giving_; });
  for (const Gpa page : pages) {
    const auto own = own_.find(page);
    if (own == own_.end() || own->second) {
      result.stopped = frame_now(page) || !domain_.pages.place_of(page) || arch::page_offset(page.value) != 0
                           ? BalloonError::invalid
                           : BalloonError::no_frame;
      break;
    }
    const std::size_t at = domain_.pages.place_of(page)->range;
    Range& range = ranges_[at];
    if (range.spare.empty()) {
      range.wanted = std::min(range.given, std::max(range.wanted, pages.size() - result.pages));
      show(at);
      result.stopped = BalloonError::no_frame;
      break;
    }
    own->second = range.spare.back();
    range.spare.pop_back();
    --range.given;
    range.wanted -= std::min<u64>(range.wanted, 1);
    show(at);
    [[maybe_unused]] const auto mapped = domain_.memory.map_epc(page, *own->second);
    ++result.pages;
  }
  return result;
}

void FixedEpc::want(u64 pages) {
  const MutexLock held(lock_);
  u64 has = domain_.pages.pages();
  for (const Range& range : ranges_) has -= range.given + range.missing;
  u64 lacks = pages > has ? pages - has : 0;
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    ranges_[i].wanted = std::min(ranges_[i].given, lacks);
    lacks -= ranges_[i].wanted;
    show(i);
  }
}

void FixedEpc::lend(std::size_t at, std::span<const vmx::EpcSection> frames) {
  const MutexLock held(lock_);
  if (at >= ranges_.size()) return;
  Range& range = ranges_[at];
  for (const vmx::EpcSection& section : frames) {
    range.held.add(section);
    for (u64 i = 0; i < section.pages; ++i) {
      const Mfn frame = section.first + i;
      if (range.missing == 0) {
        range.spare.push_back(frame);
        continue;
      }
      const Gpa page = domain_.pages.address_of(EpcPlace{at, domain_.pages.pages_in(at) - range.missing});
      own_[page] = frame;
      --range.missing;
      [[maybe_unused]] const auto mapped = domain_.memory.map_epc(page, frame);
    }
  }
  show(at);
}

FixedEpc::Frames FixedEpc::give_back(u64 most, std::span<const vmx::EpcSection> of) {
  const MutexLock held(lock_);
  FrameSet given;
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    Range& range = ranges_[i];
    while (given.pages() < most && range.spare.size() > range.wanted) {
      const Mfn frame = range.spare.back();
      if (!lies_in(of, frame)) break;  // the frames of a range are one package's
      range.spare.pop_back();
      range.held.remove(frame);
      given.add({frame, 1});
    }
    show(i);
  }
  return given.sections();
}

std::optional<Mfn> FixedEpc::borrow() {
  const MutexLock held(lock_);
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    if (ranges_[i].spare.empty()) continue;
    borrowed_.push_back(ranges_[i].spare.back());
    ranges_[i].spare.pop_back();
    show(i);
    return borrowed_.back();
  }
  return std::nullopt;
}

/// One that is not free may become so: it is tried again the next time.
void FixedEpc::take_borrowed_back(std::span<const Mfn> but) {
  const MutexLock held(lock_);
  std::erase_if(borrowed_, [&](Mfn frame) CLOISTER_REQUIRES(lock_) {
    if (std::ranges::find(but, frame) != but.end() || make_free(domain_.package, domain_.leaves, frame)) return false;
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
      if (!ranges_[i].held.contains(frame)) continue;
      ranges_[i].spare.push_back(frame);
      show(i);
    }
    return true;
  });
}

std::vector<FixedEpc::Frames> FixedEpc::held() const {
  const MutexLock held(lock_);
  std::vector<Frames> all;
  for (const Range& range : ranges_) all.push_back(range.held.sections());
  return all;
}

std::optional<Mfn> FixedEpc::frame_of(Gpa page) const {
  const MutexLock held(lock_);
  return frame_now(Gpa{arch::page_base(page.value)});
}

u64 FixedEpc::given() const {
  const MutexLock held(lock_);
  u64 pages = 0;
  for (const Range& range : ranges_) pages += range.given;
  return pages;
}

std::vector<Gpa> FixedEpc::given_pages() const {
  const MutexLock held(lock_);
  std::vector<Gpa> all;
  for (std::size_t range = 0; range < ranges_.size(); ++range) {
    if (ranges_[range].given == 0) continue;
    for (u64 page = 0; page < domain_.pages.pages_in(range) - ranges_[range].missing; ++page) {
      const Gpa address = domain_.pages.address_of(EpcPlace{range, page});
      if (!frame_now(address)) all.push_back(address);
    }
  }
  return all;
}

u64 FixedEpc::missing() const {
  const MutexLock held(lock_);
  u64 pages = 0;
  for (const Range& range : ranges_) pages += range.missing;
  return pages;
}

std::optional<Mfn> FixedEpc::frame_now(Gpa page) const {
  if (const auto own = own_.find(page); own != own_.end()) return own->second;
  const auto place = domain_.pages.place_of(page);
  if (!place) return std::nullopt;
  u64 index = place->page;
  for (const vmx::EpcSection& section : domain_.frames[place->range]) {
    if (index < section.pages) return section.first + index;
    index -= section.pages;
  }
  return std::nullopt;
}

}  // namespace cloister::hypervisor
