// One array gives slots until it is full, and then the fullest of the others, so that some become empty and their
// frames free.
#include "hypervisor/epc/pager/version_pages.hpp"

#include <algorithm>
#include <bit>
#include <cassert>

#include "hypervisor/epc/answer.hpp"

namespace cloister::hypervisor {

bool VersionPages::add(arch::Mfn frame) { return make(frame).has_value(); }

std::optional<u32> VersionPages::make(arch::Mfn frame) {
  const vmx::EnclsResult made = package_.encls(arch::EnclsLeaf::epa, {.page = frame});
  if (!done(made)) return std::nullopt;
  auto place = std::ranges::find_if(pages_, [](const Page& page) { return !page.there && !page.out; });
  if (place == pages_.end()) place = pages_.insert(pages_.end(), Page{});
  *place = {.frame = frame, .there = true};
  free_ += slots;
  ++count_;
  return static_cast<u32>(place - pages_.begin());
}

SlotName VersionPages::take() {
  assert(free_ > 0);
  if (!has_room(filling_)) {
    u32 most = 0;
    for (u32 i = 0; i < pages_.size(); ++i) {
      if (!has_room(i) || (has_room(filling_) && pages_[i].used < most)) continue;
      most = pages_[i].used;
      filling_ = i;
    }
  }
  Page& page = pages_[filling_];
  u32 word = 0;
  while (page.bits[word] == ~u64{0}) ++word;
  const auto bit = static_cast<u32>(std::countr_one(page.bits[word]));
  page.bits[word] |= u64{1} << bit;
  ++page.used;
  --free_;
  return {filling_, word * 64 + bit};
}

void VersionPages::give_back(SlotName slot) {
  Page& page = pages_[slot.page];
  u64& word = page.bits[slot.index / 64];
  const u64 bit = u64{1} << slot.index % 64;
  assert(page.there && (word & bit) != 0);
  word &= ~bit;
  --page.used;
  ++free_;
}

std::optional<arch::Mfn> VersionPages::remove_one() {
  if (free_ < 2 * slots) return std::nullopt;
  const auto empty = std::ranges::find_if(pages_, [](const Page& page) { return page.there && page.used == 0; });
  if (empty == pages_.end()) return std::nullopt;
  const vmx::EnclsResult removed = package_.eremove(empty->frame);
  if (removed.fault || removed.rax != 0) return std::nullopt;
  empty->there = false;
  free_ -= slots;
  --count_;
  return empty->frame;
}

std::vector<arch::Mfn> VersionPages::frames_there() const {
  std::vector<arch::Mfn> frames;
  for (const Page& page : pages_) {
    if (page.there) frames.push_back(page.frame);
  }
  return frames;
}

std::vector<arch::Mfn> VersionPages::remove_all() {
  std::vector<arch::Mfn> frames;
  for (Page& page : pages_) {
    if (!page.there) continue;
    const vmx::EnclsResult removed = package_.eremove(page.frame);
    if (done(removed)) frames.push_back(page.frame);
  }
  pages_.clear();
  free_ = count_ = 0;
  return frames;
}

}  // namespace cloister::hypervisor
