// What operands are in an instruction; the masked stores to [rDI] (SDM vol. 2, MASKMOVQ and MASKMOVDQU).
#include "silicon/isa/vector_access.hpp"

#include <algorithm>

namespace cloister::silicon {

bool store_masked(Cpu& cpu, const Op* op, u64 linear, const u8* data, const u8* mask, unsigned bytes) {
  const auto selected = [](u8 m) { return (m & 0x80) != 0; };
  std::array<u8, 16> span{};
  if (!load_for_store_slow(cpu, op, linear, span.data(), bytes)) return false;
  if (std::none_of(mask, mask + bytes, selected)) return true;
  for (unsigned i = 0; i < bytes; ++i) {
    if (selected(mask[i])) span[i] = data[i];
  }
  return store_slow(cpu, op, linear, span.data(), bytes);
}

Form vector_form(const Insn& insn, unsigned memory_bytes) {
  const auto bytes_of = [&](unsigned i) {
    if (is_xmm(insn, i)) return u8{16};  // the decoder has the part that is used
    return static_cast<u8>(insn.is_mem(i) && memory_bytes != 0 ? memory_bytes : insn.bits(i) / 8);
  };
  using enum Operands;
  Operands operands = other;
  if (is_xmm(insn, 0)) {
    operands = is_xmm(insn, 1)   ? xmm_xmm
               : insn.is_mem(1)  ? xmm_mem
               : is_gpr(insn, 1) ? xmm_reg
               : insn.is_imm(1)  ? xmm_imm
                                 : other;
  } else if (is_xmm(insn, 1)) {
    operands = insn.is_mem(0) ? mem_xmm : is_gpr(insn, 0) ? reg_xmm : other;
  } else if (is_gpr(insn, 0) && insn.is_mem(1)) {
    operands = reg_mem;
  }
  return {
      .operands = operands, .bytes = bytes_of(0), .source_bytes = bytes_of(1), .memory = insn.memory, .writes = true};
}

void note_rdi_address(const Insn& insn, Op& op) {
  op.base = arch::rdi;
  op.index = reg_zero;
  op.disp = 0;
  const ZydisRegister segment = insn.operand[2].mem.segment;
  if (insn.bits64() && segment != ZYDIS_REGISTER_FS && segment != ZYDIS_REGISTER_GS) {
    op.seg = seg_none;
  } else {
    op.seg = static_cast<u8>(ZydisRegisterGetId(segment));
  }
  op.scale = 0;
  if (!insn.bits64() || insn.info.address_width != 64) {
    op.aux |= any_address;
    op.scale = static_cast<u8>((insn.info.address_width / 8) << 4);
  }
}

}  // namespace cloister::silicon
