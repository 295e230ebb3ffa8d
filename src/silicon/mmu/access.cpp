// The slow paths of guest memory accesses: translation, the checks of SDM vol. 3A, 6.15 (#AC, #SS, #GP), operands on
// two pages, and the door for stores.
#include "silicon/mmu/access.hpp"

#include <algorithm>

#include "silicon/memory/guest_bytes.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/mmu/pieces.hpp"
#include "silicon/state/dispatch.hpp"
#include "silicon/state/processor.hpp"

namespace cloister::silicon {

namespace {
constexpr unsigned cache_line = 64;

/// Records what the access met; always false.
bool miss(Cpu& cpu, const Op* op, const Miss& m) {
  cpu.at = op;
  if (m.is_exit) {
    cpu.leave = Leave::exit;
    cpu.exit = m.exit;
    cpu.exit.instruction_length = op->length;
  } else {
    cpu.leave = Leave::fault;
    cpu.fault = m.fault;
  }
  return false;
}

/// A non-canonical or misaligned operand, where that is a fault.
bool checked(Cpu& cpu, const Op* op, u64 linear, unsigned bytes) {
  if (cpu.code64 && !(is_canonical(linear) && is_canonical(linear + bytes - 1))) {
    return miss(cpu, op,
                {.fault = {op->seg == arch::seg_ss ? arch::vector::ss : arch::vector::gp, true, 0, 0}, .exit = {}});
  }
  if (cpu.cpl == 3 && (cpu.system_flags & arch::rflags::ac) != 0 && (cpu.cr0 & arch::cr0::am) != 0) {
    const u64 alignment = std::min<u64>(bytes & (~bytes + 1), 8);
    if ((linear & (alignment - 1)) != 0) {
      return miss(cpu, op, {.fault = {arch::vector::ac, true, 0, 0}, .exit = {}});
    }
  }
  return true;
}

bool translate(Cpu& cpu, const Op* op, u64 linear, unsigned bytes, Access access, Pieces& out) {
  if (!checked(cpu, op, linear, bytes)) return false;
  const auto pieces = translate_pieces(cpu, linear, bytes, access);
  if (!pieces) return miss(cpu, op, pieces.error());
  out = *pieces;
  return true;
}

/// Tells the door of a store into the page; if it is the running block's, the rest of the block must be fetched anew.
void tell_door(Cpu& cpu, PageState& state) {
  if (page_store(state) && cpu.block != nullptr) poison_if_stale(*cpu.block);
}

}  // namespace

bool load_slow(Cpu& cpu, const Op* op, u64 linear, void* to, unsigned bytes) {
  Pieces pieces;
  if (!translate(cpu, op, linear, bytes, Access::read, pieces)) return false;
  read_pieces(pieces, to);
  return true;
}

bool load_for_store_slow(Cpu& cpu, const Op* op, u64 linear, void* to, unsigned bytes) {
  Pieces pieces;
  if (!translate(cpu, op, linear, bytes, Access::write, pieces)) return false;
  if (cpu.block != nullptr) poison_if_stale(*cpu.block);
  read_pieces(pieces, to);
  return true;
}

bool store_slow(Cpu& cpu, const Op* op, u64 linear, const void* from, unsigned bytes) {
  Pieces pieces;
  if (!translate(cpu, op, linear, bytes, Access::write, pieces)) return false;
  const u8* in = static_cast<const u8*>(from);
  for (unsigned i = 0; i < pieces.count; ++i) {
    const Pieces::Piece& p = pieces.piece[i];
    if (p.page.host != nullptr) {
      copy_guest(p.page.host + p.offset, in, p.bytes);
      tell_door(cpu, *p.page.state);
    }
    in += p.bytes;
  }
  if (cpu.block != nullptr) poison_if_stale(*cpu.block);
  return true;
}

void* host_for_atomic(Cpu& cpu, const Op* op, u64 linear, unsigned bytes, bool& plainly) {
  // In the host's memory, too, since pages are whole ones: a split lock there would stop every core of the host.
  if (linear % cache_line + bytes > cache_line) [[unlikely]] {
    plainly = cpu.alone;
    if (!plainly) {
      cpu.at = op;
      cpu.leave = Leave::alone;
    }
    return nullptr;
  }
  const TlbEntry& e = cpu.tlb.at(linear);
  if (e.tag_write == tlb_tag(linear, bytes, cpu.context)) return reinterpret_cast<void*>(e.addend + linear);
  Pieces pieces;
  if (!translate(cpu, op, linear, bytes, Access::write, pieces)) return nullptr;
  const Pieces::Piece& p = pieces.piece[0];
  if (p.page.host == nullptr) {
    plainly = true;  // the abort page: load() and store() have its semantics
    return nullptr;
  }
  tell_door(cpu, *p.page.state);
  if (cpu.block != nullptr) poison_if_stale(*cpu.block);
  return p.page.host + p.offset;
}

}  // namespace cloister::silicon
