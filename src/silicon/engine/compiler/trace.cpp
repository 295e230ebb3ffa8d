// The way from block to block that is the likeliest, by how often each has been entered.
#include "silicon/engine/compiler/trace.hpp"

#include <algorithm>

#include "arch/sizes.hpp"
#include "silicon/engine/compiler/known.hpp"

namespace cloister::silicon {

namespace {

/// Of a trace: who enters it pays for all, and a block alone may be as long.
constexpr u32 most_operations = max_block_ops;
constexpr std::size_t most_parts = 12;

/// Handlers come back to their own block's code.
bool has_handlers(const Block& block) {
  for (u32 i = 0; i < block.count; ++i)
    if (known(block.ops[i], block.forms[i]).kind == Kind::handler) return true;
  return false;
}

bool may_follow(const Trace& trace, const Block* next, u32 room) {
  if (next == nullptr || next->crosses() || next->count > room) return false;
  const Block& head = *trace.front().block;
  if (next->generation_now != head.generation_now || next->generation != head.generation || next->stale()) return false;
  // A block that runs less than half as often as the head is not on its way.
  if (next->code.entries < head.code.entries / 2) return false;
  return std::ranges::none_of(trace, [next](const TracePart& p) { return p.block == next; }) && !has_handlers(*next);
}

}  // namespace

Trace trace_from(Block& head, u64 rip) {
  Trace trace{{&head, arch::page_offset(rip)}};
  if (head.passing || head.crosses()) return trace;
  u32 count = head.count;
  while (trace.size() < most_parts) {
    TracePart& last = trace.back();
    const Block& block = *last.block;
    const Op& end = block.ops[block.count - 1];
    if (known(end, block.forms[block.count - 1]).kind == Kind::handler) break;
    const u32 room = most_operations - std::min(count, most_operations);
    const auto [fallen, taken] = block.links;
    const bool by_0 = may_follow(trace, fallen, room), by_1 = may_follow(trace, taken, room);
    if (!by_0 && !by_1) break;
    last.taken = by_1 && (!by_0 || taken->code.entries > fallen->code.entries);
    // Links stay within the page.
    const u64 offset = last.page_offset + (last.taken ? end.imm : u64{block.bytes});
    if (offset >= arch::page_size) break;
    Block* const next = last.taken ? taken : fallen;
    trace.push_back({next, offset, false, count});
    count += next->count;
  }
  return trace;
}

}  // namespace cloister::silicon
