// The state of a page of guest memory or EPC: what a store into it tells those who cache blocks from it, and the dirty
// log. How stores and those who cache agree: mmu/memory.hpp.
#pragma once

#include <atomic>

#include "arch/types.hpp"

namespace cloister::silicon {

struct PageState {
  static constexpr u32 no_code = 0, guarded = 1, first_claim = 2;

  std::atomic<u32> generation{0};
  /// Whether blocks are cached from this page: one of the values below, or the claim of a processor that is about to.
  std::atomic<u32> code{no_code};
  std::atomic<bool> dirty{false};     ///< written since the dirty log was last taken
  std::atomic<bool> accessed{false};  ///< of RAM: translated since its flags were last taken, if they are kept
  std::atomic<bool> written{false};   ///< the dirty log was taken of it: it was written before
};

/// True if it may have been written since it was mapped.
inline bool page_written(const PageState& s) { return s.dirty.load() || s.written.load(); }

/// True if it was written since this was last asked.
inline bool page_take_dirty(PageState& s) {
  if (!s.dirty.load(std::memory_order_relaxed)) return false;
  s.written.store(true);
  return s.dirty.exchange(false, std::memory_order_seq_cst);
}

/// True if stores may bypass page_store().
inline bool page_writable_inline(const PageState& s) {
  return s.dirty.load(std::memory_order_relaxed) && s.code.load(std::memory_order_acquire) == PageState::no_code;
}

/// A store into the page has happened; in run(), it may also be about to happen before the block's end. Returns true if
/// it makes cached blocks stale. The exchange orders the store's bytes before the look at `code`: either this sees the
/// claim, or the claimant sees the bytes.
inline bool page_store(PageState& s) {
  s.dirty.exchange(true, std::memory_order_seq_cst);
  if (s.code.load(std::memory_order_seq_cst) == PageState::no_code) return false;
  s.code.store(PageState::no_code, std::memory_order_relaxed);
  s.generation.fetch_add(1, std::memory_order_acq_rel);
  return true;
}

}  // namespace cloister::silicon
