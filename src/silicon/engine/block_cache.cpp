// Finding and building basic blocks.
#include "silicon/engine/block_cache.hpp"

#include <algorithm>

#include "silicon/decode/decode.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

namespace {

/// In operations with their forms: 160 MiB for each processor, whatever blocks a guest makes it decode. What a block is
/// beside its operations, with its entries in maps and the allocator's headers, counts as some more of them.
constexpr u64 bytes_of_op = sizeof(Op) + sizeof(Form) + sizeof(Handler);
constexpr u64 max_cached_ops = (u64{160} << 20) / bytes_of_op;
constexpr u64 ops_beside = 16;
static_assert(sizeof(Block) + 400 <= ops_beside * bytes_of_op);
constexpr unsigned max_instruction_bytes = 15;

/// After the last instruction of a block that was cut: goes on behind it.
void op_block_end(Cpu& cpu, const Op* op) { return jump_direct<0>(cpu, op, cpu.rip_of(op)); }

/// In front of an instruction that crosses into a second page: is it still the one that was decoded? The look-up, which
/// finds out, enters behind this operation.
void op_check_second_page(Cpu& cpu, const Op* op) {
  const Block& b = *cpu.block;
  if (b.second_stale() || b.second_elsewhere(cpu.gpr[reg_rip_base], cpu.fetch_key)) return again(cpu, op + 1);
  CLOISTER_NEXT(cpu, op);
}

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

EnclaveCode enclave_code(const Cpu& cpu) {
  if (!cpu.enclave.active) return EnclaveCode::outside;
  return cpu.mmu->package().features().sgx2 ? EnclaveCode::sgx2 : EnclaveCode::sgx1;
}

}  // namespace

void BlockCache::forget_all() {
  cpu_.jump_cache.fill({});
  cpu_.forget_returns();
  engine_.forget();
  blocks_.clear();
  ops_ = 0;
}

tl::expected<PageTranslation, Miss> BlockCache::fetch_page(u64 linear) {
  auto page = mmu_.fetch_page(linear);
  if (page && page->host == nullptr) {
    page->host = abort_page().bytes.data();
    page->state = &abort_page().state;
  }
  return page;
}

tl::expected<void, Miss> BlockCache::build(Block& block, u64 rip, const PageTranslation& page, u64 limit) {
  const u64 offset = arch::page_offset(rip);
  PageState& state = *page.state;
  ++decoded_;
  block.ops.clear();
  block.forms.clear();
  block.links = {};
  block.second_generation_now = nullptr;
  block.generation_now = &state.generation;
  block.generation = state.generation.load(std::memory_order_acquire);
  block.count = 0;
  block.prologue = 0;
  block.bytes = 0;
  mmu_.guard_code(page);

  const CodeMode mode = code_mode(cpu_);
  const EnclaveCode where = enclave_code(cpu_);
  bool ends = false;
  while (!ends && block.count < limit) {
    const u64 left = arch::page_size - offset - block.bytes;
    if (left == 0) break;
    // Another processor may be writing here: what is decoded is one copy.
    std::array<u8, max_instruction_bytes> bytes;
    const u64 n = std::min<u64>(left, bytes.size());
    copy_guest(bytes.data(), page.host + offset + block.bytes, n);
    Op op;
    const Decoded d = decode({bytes.data(), n}, mode, static_cast<u16>(block.bytes), op, where);
    if (d.truncated) break;
    block.ops.push_back(op);
    block.forms.push_back(d.form);
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
    block.second_page = place_of(*second);
    block.second_generation_now = &second->state->generation;
    block.second_generation = second->state->generation.load(std::memory_order_acquire);
    mmu_.guard_code(*second);
    std::array<u8, 2 * max_instruction_bytes> bytes;
    copy_guest(bytes.data(), page.host + offset, left);
    copy_guest(bytes.data() + left, second->host, max_instruction_bytes);
    Op check, op;
    check.handler = op_check_second_page;
    const Decoded d = decode({bytes.data(), left + max_instruction_bytes}, mode, 0, op, where);
    block.ops = {check, op};
    block.forms = {Form{}, d.form};
    block.bytes = op.length;
    block.count = block.prologue = 1;
  }
  add_end(block);
  block.ops.shrink_to_fit();
  block.forms.shrink_to_fit();
  return {};
}

void BlockCache::add_end(Block& block) {
  Op op;
  op.handler = op_block_end;
  op.offset = static_cast<u16>(block.bytes);
  block.ops.push_back(op);
  block.forms.emplace_back();
}

void BlockCache::take_beginning(const Block& whole, u64 limit) {
  Block& b = limited_;
  b.count = static_cast<u32>(std::min<u64>(limit, whole.count));
  b.ops.assign(whole.ops.begin(), whole.ops.begin() + b.count);
  b.forms.assign(whole.forms.begin(), whole.forms.begin() + b.count);
  if (!whole.handlers.empty())
    for (u32 i = 0; i < b.count; ++i) b.ops[i].handler = whole.handlers[i];
  b.links = {};
  b.generation_now = whole.generation_now;
  b.generation = whole.generation;
  b.second_generation_now = nullptr;
  b.prologue = 0;
  b.bytes = b.ops.back().offset + u32{b.ops.back().length};
  add_end(b);
}

tl::expected<Block*, Miss> BlockCache::at(u64 rip, u64 limit) {
  const u64 linear = cpu_.code64 ? rip : static_cast<u32>(rip + cpu_.seg[arch::seg_cs].base);
  if (cpu_.code64 && !is_canonical(linear)) {
    return tl::unexpected(Miss{.fault = {arch::vector::gp, true, 0, 0}, .exit = {}});
  }
  ++lookups_;
  if (limit >= max_block_ops) {
    Block* const known = recent_block(cpu_, rip);
    if (known != nullptr && !known->second_stale() && !known->second_elsewhere(rip, cpu_.fetch_key)) return known;
  }
  const auto page = fetch_page(linear);
  if (!page) return tl::unexpected(page.error());
  // In code with a segment base, RIP and linear address have different page offsets only if the base is unaligned.
  const u64 place = place_of(*page) + arch::page_offset(linear);
  // The same EPC page is code inside its enclave and the abort page outside.
  const u64 key = (u64{cpu_.enclave.active} << 60) | place | (static_cast<u64>(code_mode(cpu_)) << 56);
  Block* found = blocks_.find(key);
  if (limit < max_block_ops) {
    if (found != nullptr && !found->crosses() && !found->stale()) {
      take_beginning(*found, limit);
    } else if (const auto built = build(limited_, linear, *page, limit); !built) {
      return tl::unexpected(built.error());
    }
    limited_.passing = true;
    engine_.take(limited_);
    return &limited_;
  }
  if (ops_ > max_cached_ops) {
    forget_all();
    found = nullptr;
  }
  if (found != nullptr) {
    const auto valid = still_valid(*found, linear);
    if (!valid) return tl::unexpected(valid.error());
    if (*valid) return remember(rip, *found);
  }
  Block fresh;
  if (const auto built = build(fresh, linear, *page, max_block_ops); !built) return tl::unexpected(built.error());
  if (found == nullptr) {
    found = &blocks_.add(key);
    ops_ += ops_beside;
  }
  // Links and the jump cache may point to the old block: it becomes the new one.
  Block& block = *found;
  ops_ += fresh.ops.size() - block.ops.size();
  fresh.code = block.code;
  block = std::move(fresh);
  engine_.take(block);
  return remember(rip, block);
}

u64 BlockCache::place_of(const PageTranslation& page) const {
  return cpu_.enclave.active && page.epc_index ? u64{*page.epc_index} << arch::page_shift : page.physical;
}

Block* BlockCache::remember(u64 rip, Block& block) {
  block.found_rip = rip;
  block.found_key = cpu_.fetch_key;
  JumpCacheEntry* const entries = cpu_.jump_entries(rip);
  const u64 tag = cpu_.jump_tag(rip);
  if (entries[0].tag != tag) entries[1] = entries[0];
  entries[0] = {tag, &block};
  return &block;
}

tl::expected<bool, Miss> BlockCache::still_valid(const Block& block, u64 linear) {
  if (block.stale()) return false;
  if (!block.crosses()) return true;
  const auto second = fetch_page(cpu_.wrap(arch::page_base(linear) + arch::page_size));
  if (!second) return tl::unexpected(second.error());
  return place_of(*second) == block.second_page && !block.second_stale();
}

}  // namespace cloister::silicon
