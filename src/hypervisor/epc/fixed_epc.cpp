#include "hypervisor/epc/fixed_epc.hpp"

#include <algorithm>

namespace cloister::hypervisor {

using arch::EnclsLeaf;
using arch::Gpa;
using arch::Mfn;

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
      why = make_free(frames[done]);
      if (why) result.stopped = why;
      if (why == BalloonError::in_use) break;
      own_[pages[done]] = std::nullopt;
      if (why) continue;
      spare_.push_back(frames[done]);
      ++result.pages;
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
      result.stopped = BalloonError::invalid;
      break;
    }
    if (spare_.empty()) {
      result.stopped = BalloonError::no_frame;
      break;
    }
    own->second = spare_.back();
    spare_.pop_back();
    [[maybe_unused]] const auto mapped = domain_.memory.map_epc(page, *own->second);
    ++result.pages;
  }
  return result;
}

std::optional<Mfn> FixedEpc::frame_of(Gpa page) const {
  const MutexLock held(lock_);
  return frame_now(Gpa{arch::page_base(page.value)});
}

u64 FixedEpc::given() const {
  const MutexLock held(lock_);
  return static_cast<u64>(std::ranges::count_if(own_, [](const auto& own) { return !own.second; }));
}

std::optional<Mfn> FixedEpc::frame_now(Gpa page) const {
  const auto own = own_.find(page);
  return own != own_.end() ? own->second : first_frame_of(page);
}

std::optional<Mfn> FixedEpc::first_frame_of(Gpa page) const {
  const auto number = domain_.pages.page_at(page);
  if (!number) return std::nullopt;
  u64 index = number->number;
  for (const vmx::EpcSection& section : domain_.frames) {
    if (index < section.pages) return section.first + index;
    index -= section.pages;
  }
  return std::nullopt;
}

/// Nullopt: it was free, and is again, with nothing of the guest's in it.
std::optional<BalloonError> FixedEpc::make_free(Mfn frame) {
  const RootLeaves::Running leaf(domain_.leaves);
  if (domain_.package.encls(EnclsLeaf::epa, {.page = frame}).fault) return BalloonError::in_use;
  const vmx::EnclsResult removed = domain_.package.eremove(frame);
  if (removed.fault || removed.rax != 0) return BalloonError::stuck;
  return std::nullopt;
}

}  // namespace cloister::hypervisor
