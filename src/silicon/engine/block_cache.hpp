// Basic blocks of decoded operations, by the place that they start at: the guest-physical address, and in an enclave
// the page of EPC, for a hypervisor may map another one there.
//
// A block lies in one page, but for a block of the one instruction that crosses into the next page. That one is never
// linked to, and an operation in front checks its second page: that it is the one that the look-up here found last, and
// unchanged since.
//
// What the look-up answers is checked in full, or has just been decoded, and its first instruction is then executed
// whatever others store meanwhile, as a processor executes what it has fetched. So every look-up is worth an
// instruction: nobody can make a processor try for ever by writing to its code, or beside it.
#pragma once

#include <tl/expected.hpp>

#include "silicon/engine/block_map.hpp"
#include "silicon/engine/engine.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/state/modes.hpp"

namespace cloister::silicon {

class BlockCache final : public CodeCache {
 public:
  BlockCache(Cpu& cpu, Mmu& mmu, Engine& engine) : cpu_(cpu), mmu_(mmu), engine_(engine) { mmu.set_code_cache(this); }
  ~BlockCache() { mmu_.set_code_cache(nullptr); }
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  /// The block at RIP, of at most `limit` instructions (a limit below max_block_ops gives a block that is valid until
  /// the next call). The miss is the fetch's.
  tl::expected<Block*, Miss> at(u64 rip, u64 limit);

  /// How many times at() was called, and how many blocks it decoded: what writing to code costs.
  u64 lookups() const { return lookups_; }
  u64 decoded() const { return decoded_; }
  void forget_all() override;

 private:
  tl::expected<void, Miss> build(Block& block, u64 rip, const PageTranslation& page, u64 limit);
  /// limited_ becomes the first instructions of a block as it is: they need not be decoded.
  void take_beginning(const Block& whole, u64 limit);
  /// The operation behind the last instruction.
  static void add_end(Block& block);
  tl::expected<PageTranslation, Miss> fetch_page(u64 linear);
  /// The jump cache leads from RIP, as things are, to the block.
  Block* remember(u64 rip, Block& block);
  /// Where a page's code is.
  u64 place_of(const PageTranslation& page) const;
  tl::expected<bool, Miss> still_valid(const Block& block, u64 linear);

  Cpu& cpu_;
  Mmu& mmu_;
  Engine& engine_;
  BlockMap blocks_;  ///< by place and code mode
  Block limited_;
  u64 ops_ = 0;  ///< operations in all blocks, and what blocks are beside them
  u64 lookups_ = 0, decoded_ = 0;
};

}  // namespace cloister::silicon
