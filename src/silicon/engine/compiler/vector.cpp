// SSE instructions of 64-bit code by the host's own, on the host's XMM registers.
//
// The guest's registers are in those of the same number. They are loaded by the first block that names one, and stay
// until code is left. MXCSR is the guest's but for its masks (state/fpu.hpp), so that results and sticky flags are
// right as long as the guest has no exception unmasked; if it has, or if SSE is blocked, the block is given up.
#include <algorithm>

#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

namespace {
using enum Operands;
constexpr bool is_wide(u8 bytes) { return bytes == 8; }
u8 alignment(u8 bytes, const Known& k) { return bytes == 16 && (k.traits & trait::any_address) == 0 ? 16 : 1; }
}  // namespace

Translator::Registers Translator::vectors_from(u32 i) const {
  Registers most = Registers::none;
  for (; i < steps_.size() && steps_[i].known.kind != Kind::handler; ++i) {
    const Known& k = steps_[i].known;
    if (!is_vector(k.kind)) continue;
    const Registers needs = is_vex(k.kind)                      ? Registers::ymm
                            : (k.traits & trait::computes) != 0 ? Registers::computing_xmm
                                                                : Registers::xmm;
    most = std::max(most, needs);
  }
  return most;
}

void Translator::check_vectors(u32 i) {
  const Registers needs = vectors_from(i);
  if (needs == Registers::none) return;
  checks_.push_back({i, e_.label(), e_.label(), needs});
  // In one comparison: blocked, registers in memory, and unmasked.
  const u8 bytes = needs == Registers::ymm ? 8 : needs == Registers::computing_xmm ? 4 : 2;
  e_.op(0x83, 7, layout_.at(layout_.sse_blocked), {bytes}, 0, 1);
  e_.jcc(5, checks_.back().label);
  e_.bind(checks_.back().after);
}

void Translator::vectors_out_of_line() {
  for (const Check& c : checks_) {
    e_.bind(c.label);
    e_.mov_imm(scratch, c.op);
    e_.mov_imm(second_scratch, reinterpret_cast<u64>(&trace_[0].block->code));
    to_rip(trace_[0].page_offset);
    e_.call(c.needs == Registers::ymm             ? stubs_.upper
            : c.needs == Registers::computing_xmm ? stubs_.arithmetic
                                                  : stubs_.vectors);
    e_.op(0x81, 4, layout_.rip_page(), Encoder::Sizes{}, -static_cast<i64>(arch::page_size), 4);
    e_.jmp(c.after);
  }
}

Place Translator::vector_source(const Op& op, const Form& form, const Known& k) {
  if (form.operands != xmm_mem && form.operands != reg_mem) return op.src;
  return access(op, form.memory, form.source_bytes, false, alignment(form.source_bytes, k), Scratch::free);
}

void Translator::vector(const Op& op, const Form& form, const Known& k) {
  const u8 imm_bytes = (k.traits & trait::imm) != 0 ? 1 : 0;
  const i64 imm = static_cast<i64>(op.imm & 0xff);
  const auto to_memory = [&](u32 code) {
    const Address to = access(op, form.memory, form.bytes, true, alignment(form.bytes, k), Scratch::free);
    e_.sse(code, op.src, to, is_wide(form.bytes), imm, imm_bytes);
  };
  const auto to_general = [&](u32 code) {
    into(op.dst, 8, false, true, [&](HostReg r) { e_.sse(code, op.src, r, is_wide(form.bytes), imm, imm_bytes); });
  };
  const auto from_general = [&] {
    const Place from = form.operands == xmm_reg ? place(op.src) : vector_source(op, form, k);
    e_.sse(k.code, op.dst, from, is_wide(form.source_bytes), imm, imm_bytes);
  };
  switch (k.kind) {
    case Kind::vector_to_general: {
      const Place from = vector_source(op, form, k);
      into(op.dst, 8, false, true, [&](HostReg r) { e_.sse(k.code, r, from, is_wide(form.bytes)); });
      break;
    }
    case Kind::vector_in: from_general(); break;
    case Kind::vector_out: form.operands == reg_xmm ? to_general(k.code) : to_memory(k.code); break;
    case Kind::vector_scalar:
      switch (form.operands) {
        case xmm_xmm: e_.sse(0xf30f7e, op.dst, op.src); break;  // movq
        case reg_xmm: to_general(k.other); break;
        case mem_xmm: to_memory(k.other); break;
        default: from_general();
      }
      break;
    case Kind::vector_shift:
      if (form.operands == xmm_imm)
        return e_.sse(k.other & 0xff'ffff, static_cast<HostReg>(k.other >> 24), op.dst, false, imm, 1);
      e_.sse(k.code, op.dst, vector_source(op, form, k));
      break;
    case Kind::vector_move:
      if (form.operands == mem_xmm) return to_memory(k.other);
      e_.sse(k.code, op.dst, vector_source(op, form, k));
      break;
    default: e_.sse(k.code, op.dst, vector_source(op, form, k), false, imm, imm_bytes);
  }
  set_flags(k);
}

}  // namespace cloister::silicon
