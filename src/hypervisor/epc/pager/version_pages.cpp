// The fullest array gives the next slot, so that others become empty and their frames free.
#include "hypervisor/epc/pager/version_pages.hpp"

#include <algorithm>
#include <cassert>

namespace cloister::hypervisor {

bool VersionPages::add(arch::Mfn frame) {
  const vmx::EnclsResult made = package_.encls(arch::EnclsLeaf::epa, {.page = frame});
  if (made.fault || made.rax != 0) return false;
  auto place = std::ranges::find(pages_, false, &Page::there);
  if (place == pages_.end()) place = pages_.insert(pages_.end(), Page{});
  *place = {.frame = frame, .there = true};
  free_ += slots;
  ++count_;
  return true;
}

SlotName VersionPages::take() {
  assert(free_ > 0);
  Page* fullest = nullptr;
  for (Page& page : pages_) {
    if (!page.there || page.used.all()) continue;
    if (fullest == nullptr || page.used.count() > fullest->used.count()) fullest = &page;
  }
  u32 index = 0;
  while (fullest->used[index]) ++index;
  fullest->used[index] = true;
  --free_;
  return {static_cast<u32>(fullest - pages_.data()), index};
}

void VersionPages::give_back(SlotName slot) {
  Page& page = pages_[slot.page];
  assert(page.there && page.used[slot.index]);
  page.used[slot.index] = false;
  ++free_;
}

std::optional<arch::Mfn> VersionPages::remove_one() {
  if (free_ < 2 * slots) return std::nullopt;
  const auto empty = std::ranges::find_if(pages_, [](const Page& page) { return page.there && page.used.none(); });
  if (empty == pages_.end()) return std::nullopt;
  const vmx::EnclsResult removed = package_.eremove(empty->frame);
  if (removed.fault || removed.rax != 0) return std::nullopt;
  empty->there = false;
  free_ -= slots;
  --count_;
  return empty->frame;
}

std::vector<arch::Mfn> VersionPages::remove_all() {
  std::vector<arch::Mfn> frames;
  for (Page& page : pages_) {
    if (!page.there) continue;
    const vmx::EnclsResult removed = package_.eremove(page.frame);
    if (!removed.fault && removed.rax == 0) frames.push_back(page.frame);
  }
  pages_.clear();
  free_ = count_ = 0;
  return frames;
}

}  // namespace cloister::hypervisor
