// Finding and building basic blocks.
#include "silicon/cpu/block_cache.hpp"

#include <cstring>

#include "silicon/cpu/decode.hpp"
#include "silicon/cpu/dispatch.hpp"

namespace cloister::silicon {

namespace {

constexpr u64 max_cached_ops = u64{4} << 20;
constexpr unsigned max_instruction_bytes = 15;

/// After the last instruction of a block that was cut: goes on behind it.
void op_block_end(Cpu& cpu, const Op* op) { return jump_direct<0>(cpu, op, cpu.rip_of(op)); }

/// In a block that a store made stale: leaves for the run loop before this instruction.
void op_poisoned(Cpu& cpu, const Op* op) { return again(cpu, op); }

/// What an instruction fetch from EPC outside an enclave finds: all ones.
struct AbortPage {
  alignas(arch::page_size) std::array<u8, arch::page_size> bytes;
  PageState state;
  AbortPage() { bytes.fill(0xff); }
};
AbortPage& abort_page() {
  static AbortPage page;
  return page;
}

}  // namespace

void poison_if_stale(Block& block) {
  const bool second_stale = block.crosses() && block.second_generation_now->load() != block.second_generation;
  if (!block.stale() && !second_stale) return;
  for (Op& op : block.ops) op.handler = op_poisoned;
}

void BlockCache::forget_all() {
  cpu_.jump_cache.fill({});
  blocks_.clear();
  crossing_.clear();
  ops_ = 0;
}

tl::expected<PageTranslation, Miss> BlockCache::fetch_page(u64 linear) {
  auto page = mmu_.translate_and_fill(linear, Access::fetch);
  if (page && page->host == nullptr) {
    page->host = abort_page().bytes.data();
    page->state = &abort_page().state;
  }
  return page;
}

tl::expected<void, Miss> BlockCache::build(Block& block, u64 rip, const PageTranslation& page, u64 limit) {
  const u64 offset = arch::page_offset(rip);
  PageState& state = *page.state;
  block.ops.clear();
  block.links = {};
  block.physical = page.physical + offset;
  block.second_generation_now = nullptr;
  block.generation_now = &state.generation;
  block.generation = state.generation.load(std::memory_order_acquire);
  block.count = 0;
  block.bytes = 0;
  if (!state.code.exchange(true, std::memory_order_acq_rel)) mmu_.protect(page.host);

  const CodeMode mode = code_mode(cpu_);
  bool ends = false;
  while (!ends && block.count < limit) {
    const u64 left = arch::page_size - offset - block.bytes;
    if (left == 0) break;
    Op op;
    const Decoded d = decode({page.host + offset + block.bytes, left}, mode, static_cast<u16>(block.bytes), op);
    if (d.truncated) break;
    block.ops.push_back(op);
    block.bytes += op.length;
    ++block.count;
    ends = d.ends_block;
  }
  if (block.count == 0) {
    // The first instruction crosses the page: one block for it alone.
    const u64 left = arch::page_size - offset;
    const u64 next = cpu_.wrap(arch::page_base(rip) + arch::page_size);
    const auto second = fetch_page(next);
    if (!second) return tl::unexpected(second.error());
    block.second_page = second->physical;
    block.second_generation_now = &second->state->generation;
    block.second_generation = second->state->generation.load(std::memory_order_acquire);
    if (!second->state->code.exchange(true, std::memory_order_acq_rel)) mmu_.protect(second->host);
    std::array<u8, 2 * max_instruction_bytes> bytes;
    std::memcpy(bytes.data(), page.host + offset, left);
    std::memcpy(bytes.data() + left, second->host, max_instruction_bytes);
    Op op;
    decode({bytes.data(), left + max_instruction_bytes}, mode, 0, op);
    block.ops.push_back(op);
    block.bytes = op.length;
    block.count = 1;
  }
  Op end;
  end.handler = op_block_end;
  end.offset = static_cast<u16>(block.bytes);
  block.ops.push_back(end);
  block.ops.shrink_to_fit();
  return {};
}

tl::expected<Block*, Miss> BlockCache::at(u64 rip, u64 limit) {
  const u64 linear = cpu_.code64 ? rip : static_cast<u32>(rip + cpu_.seg[arch::seg_cs].base);
  const auto page = fetch_page(linear);
  if (!page) return tl::unexpected(page.error());
  // In code with a segment base, RIP and linear address have different page offsets only if the base is unaligned.
  const u64 physical = page->physical + arch::page_offset(linear);
  if (limit < max_block_ops) {
    if (const auto built = build(limited_, linear, *page, limit); !built) return tl::unexpected(built.error());
    return &limited_;
  }
  const u64 key = physical | (static_cast<u64>(code_mode(cpu_)) << 56);
  if (const auto found = blocks_.find(key); found != blocks_.end() && !found->second->stale())
    return found->second.get();
  if (const auto found = crossing_.find(key); found != crossing_.end() && !found->second->stale()) {
    Block& b = *found->second;
    const auto second = fetch_page(cpu_.wrap(arch::page_base(linear) + arch::page_size));
    if (!second) return tl::unexpected(second.error());
    if (second->physical == b.second_page &&
        b.second_generation_now->load(std::memory_order_acquire) == b.second_generation) {
      return &b;
    }
  }
  if (ops_ > max_cached_ops) forget_all();

  auto fresh = std::make_unique<Block>();
  if (const auto built = build(*fresh, linear, *page, max_block_ops); !built) return tl::unexpected(built.error());
  ops_ += fresh->ops.size();
  auto& map = fresh->crosses() ? crossing_ : blocks_;
  std::unique_ptr<Block>& place = map[key];
  if (place == nullptr) {
    place = std::move(fresh);
  } else {
    // Links and the jump cache point to the old block: it becomes the new one.
    ops_ -= place->ops.size();
    *place = std::move(*fresh);
  }
  Block* const block = place.get();
  if (!block->crosses()) cpu_.jump_entry(rip) = {rip, cpu_.fetch_key, block};
  return block;
}

}  // namespace cloister::silicon
