// Neighbours become one row as they come, and a frame that goes leaves two.
#include "hypervisor/epc/pager/frame_set.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace cloister::hypervisor {

void FrameSet::add(vmx::EpcSection more) {
  if (more.pages == 0) return;
  assert(!contains(more.first));
  pages_ += more.pages;
  auto after = rows_.lower_bound(more.first);
  if (after != rows_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == more.first) {
      more = {before->first, before->second + more.pages};
      rows_.erase(before);
    }
  }
  if (after != rows_.end() && more.first + more.pages == after->first) {
    more.pages += after->second;
    rows_.erase(after);
  }
  rows_.emplace(more.first, more.pages);
}

void FrameSet::remove(arch::Mfn frame) {
  assert(contains(frame));
  const auto row = std::prev(rows_.upper_bound(frame));
  const u64 before = frame - row->first, behind = row->second - before - 1;
  if (before == 0) {
    rows_.erase(row);
  } else {
    row->second = before;
  }
  if (behind != 0) rows_.emplace(frame + 1, behind);
  --pages_;
}

bool FrameSet::contains(arch::Mfn frame) const {
  const auto after = rows_.upper_bound(frame);
  if (after == rows_.begin()) return false;
  const auto row = std::prev(after);
  return frame - row->first < row->second;
}

std::vector<vmx::EpcSection> FrameSet::sections() const {
  std::vector<vmx::EpcSection> all;
  for (const auto& [first, pages] : rows_) all.push_back({first, pages});
  return all;
}

void FreeFrames::add_new(const vmx::EpcSection& frames) {
  std::vector<arch::Mfn> own, lent;
  for (u64 i = frames.pages; i-- > 0;) (is_own(frames.first + i) ? own : lent).push_back(frames.first + i);
  free_.insert(free_.begin(), own.begin(), own.end());
  lent_.insert(lent_.begin(), lent.begin(), lent.end());
}

bool lies_in(std::span<const vmx::EpcSection> rows, arch::Mfn frame) {
  return rows.empty() || std::ranges::any_of(rows, [&](const auto& row) {
           return frame >= row.first && frame - row.first < row.pages;
         });
}

std::optional<arch::Mfn> FreeFrames::take_lent(std::span<const vmx::EpcSection> of) {
  for (std::vector<arch::Mfn>* const from : {&lent_, &free_}) {
    const auto last = std::find_if(from->rbegin(), from->rend(), [&](arch::Mfn frame) { return lies_in(of, frame); });
    if (last == from->rend()) continue;
    const arch::Mfn frame = *last;
    from->erase(std::next(last).base());
    return frame;
  }
  return std::nullopt;
}

std::optional<arch::Mfn> FreeFrames::take(std::vector<arch::Mfn>& first, std::vector<arch::Mfn>& second) {
  std::vector<arch::Mfn>& from = first.empty() ? second : first;
  if (from.empty()) return std::nullopt;
  const arch::Mfn frame = from.back();
  from.pop_back();
  return frame;
}

}  // namespace cloister::hypervisor
