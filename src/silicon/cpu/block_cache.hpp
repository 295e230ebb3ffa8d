// Basic blocks of decoded operations, by the guest-physical address that they start at.
//
// A block lies in one page, but for a block of the one instruction that crosses into the next page. That one checks its
// second page's generation itself, by an operation in front, and is never linked to: the jump cache and the lookup here
// answer for the second page's translation.
#pragma once

#include <memory>
#include <tl/expected.hpp>
#include <unordered_map>

#include "silicon/cpu/modes.hpp"
#include "silicon/mmu/mmu.hpp"

namespace cloister::silicon {

class BlockCache {
 public:
  explicit BlockCache(Cpu& cpu, Mmu& mmu) : cpu_(cpu), mmu_(mmu) {}

  /// The block at RIP, of at most `limit` instructions (a limit below max_block_ops gives a block that is valid until
  /// the next call). The miss is the fetch's.
  tl::expected<Block*, Miss> at(u64 rip, u64 limit);

 private:
  tl::expected<void, Miss> build(Block& block, u64 rip, const PageTranslation& page, u64 limit);
  tl::expected<PageTranslation, Miss> fetch_page(u64 linear);
  tl::expected<bool, Miss> still_valid(const Block& block, u64 linear);
  void forget_all();

  Cpu& cpu_;
  Mmu& mmu_;
  std::unordered_map<u64, std::unique_ptr<Block>> blocks_;  ///< by physical address and code mode
  Block limited_;
  u64 ops_ = 0;  ///< operations in all blocks
};

/// If a store made `block` stale, makes what is left of it leave for the run loop.
void poison_if_stale(Block& block);

}  // namespace cloister::silicon
