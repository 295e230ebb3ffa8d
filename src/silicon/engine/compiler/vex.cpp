// VEX-encoded vector instructions of 64-bit code by the host's own, on the host's YMM registers (vector.cpp).
#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

namespace {
constexpr u8 vvvv_mask = 0x0f;
constexpr u8 wide_bytes = 32;
}  // namespace

void Translator::vex(const Op& op, const Form& form, const Known& k) {
  using enum Operands;
  const HostReg third = op.aux & vvvv_mask;
  const bool l = (form.operands == mem_xmm || form.operands == reg_xmm ? form.source_bytes : form.bytes) == wide_bytes;
  const bool w = (k.traits & trait::w) != 0;
  const bool has_imm = (k.traits & (trait::imm | trait::third)) != 0;
  const i64 value =
      (k.traits & trait::third) != 0 ? static_cast<i64>((op.imm >> 8 & 15) << 4) : static_cast<i64>(op.imm & 0xff);
  const u8 imm_bytes = has_imm ? 1 : 0;
  const auto alignment = [&](u8 bytes) { return (k.traits & trait::aligned) != 0 ? bytes : u8{1}; };
  const auto from_second = [&]() -> Place {
    if (form.operands != xmm_mem) return op.src;
    return access(op, form.memory, form.source_bytes, false, alignment(form.source_bytes), Scratch::free);
  };
  const auto to_memory = [&](u32 code, bool wide) {
    const Address to = access(op, form.memory, form.bytes, true, alignment(form.bytes), Scratch::free);
    e_.vex(code, op.src, to, {.l = l, .w = wide}, value, imm_bytes);
  };
  const auto to_general = [&](u32 code) {
    into(op.dst, 8, false, true, [&](HostReg r) { e_.vex(code, op.src, r, {.l = l, .w = form.bytes == 8}); });
  };
  switch (k.kind) {
    case Kind::vex_zero: e_.bytes({0xc5, 0xf8, 0x77}); break;
    case Kind::vex_move:
      if (form.operands == mem_xmm) return to_memory(k.other, w);
      e_.vex(k.code, op.dst, from_second(), {third, l, w});
      break;
    case Kind::vex_extract:
      if (form.operands == mem_xmm) return to_memory(k.code, w);
      e_.vex(k.code, op.src, op.dst, {.l = true, .w = w}, value, 1);
      break;
    case Kind::vex_shift:
      if (form.operands == xmm_imm)
        return e_.vex(k.other & 0xff'ffff, static_cast<HostReg>(k.other >> 24), op.src, {op.dst, l, false}, value, 1);
      e_.vex(k.code, op.dst, from_second(), {third, l, false});
      break;
    case Kind::vex_scalar:
      switch (form.operands) {
        case xmm_xmm: e_.vex(0xf30f7e, op.dst, op.src, {}); break;  // vmovq
        case reg_xmm: to_general(k.other); break;
        case mem_xmm: to_memory(k.other, form.bytes == 8); break;
        case xmm_reg: e_.vex(k.code, op.dst, place(op.src), {.w = form.source_bytes == 8}); break;
        default: e_.vex(k.code, op.dst, from_second(), {.w = form.source_bytes == 8});
      }
      break;
    case Kind::vex_in: {
      const Place from = form.operands == xmm_reg ? place(op.src) : from_second();
      e_.vex(k.code, op.dst, from, {third, false, form.source_bytes == 8}, value, imm_bytes);
      break;
    }
    case Kind::vex_to_general:
      into(op.dst, 8, false, true, [&](HostReg r) { e_.vex(k.code, r, op.src, {.l = l, .w = form.bytes == 8}); });
      break;
    case Kind::vex_flags: e_.vex(k.code, third, from_second(), {.l = l}); break;
    default: e_.vex(k.code, op.dst, from_second(), {third, l, w}, value, imm_bytes);
  }
  set_flags(k);
}

}  // namespace cloister::silicon
