// Machine frames of EPC as sets: those that a pager has, and those of them that are free.
//
// Thread rules: its owner's.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <vector>

#include "vmx/package.hpp"

namespace cloister::hypervisor {

/// Frames in rows, each as long as it can be.
class FrameSet {
 public:
  FrameSet() = default;
  explicit FrameSet(std::span<const vmx::EpcSection> sections) {
    for (const vmx::EpcSection& section : sections) add(section);
  }

  /// Precondition: none of them is in the set.
  void add(vmx::EpcSection more);
  /// Precondition: it is in the set.
  void remove(arch::Mfn frame);
  bool contains(arch::Mfn frame) const;
  u64 pages() const { return pages_; }
  /// By number.
  std::vector<vmx::EpcSection> sections() const;

 private:
  std::map<arch::Mfn, u64> rows_;  ///< pages, by the first frame
  u64 pages_ = 0;
};

/// A frame lies in one of these rows; of none: any does.
bool lies_in(std::span<const vmx::EpcSection> rows, arch::Mfn frame);

/// Free frames of a domain. Its own are used first, and those that were lent to it are given back first; of each what
/// was used last, whose memory the host has given already.
class FreeFrames {
 public:
  /// own: not lent.
  explicit FreeFrames(FrameSet own) : own_(std::move(own)) {}

  void add(arch::Mfn frame) { (own_.contains(frame) ? free_ : lent_).push_back(frame); }
  /// They have not been used: others are used before them.
  void add_new(const vmx::EpcSection& frames);
  std::optional<arch::Mfn> take() { return take(free_, lent_); }
  /// One that lies in these rows.
  std::optional<arch::Mfn> take_lent(std::span<const vmx::EpcSection> of);
  bool is_own(arch::Mfn frame) const { return own_.contains(frame); }
  u64 size() const { return free_.size() + lent_.size(); }
  bool empty() const { return size() == 0; }
  void clear() {
    free_.clear();
    lent_.clear();
  }

 private:
  static std::optional<arch::Mfn> take(std::vector<arch::Mfn>& first, std::vector<arch::Mfn>& second);

  FrameSet own_;
  std::vector<arch::Mfn> free_, lent_;
};

}  // namespace cloister::hypervisor
