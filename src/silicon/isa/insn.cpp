// Register numbers and segments of a decoded instruction.
#include "silicon/isa/insn.hpp"

#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

u8 Insn::reg(unsigned i) const {
  const ZydisRegister r = operand[i].reg.value;
  const u8 id = static_cast<u8>(ZydisRegisterGetId(r));
  if (ZydisRegisterGetClass(r) != ZYDIS_REGCLASS_GPR8) return id;
  if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) return static_cast<u8>((r - ZYDIS_REGISTER_AH) * 8 + 1);
  // Zydis numbers AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B …
  if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL) return static_cast<u8>((r - ZYDIS_REGISTER_AL) * 8);
  return static_cast<u8>((r - ZYDIS_REGISTER_SPL + 4) * 8);
}

Form form_as_encoded(const Insn& insn, bool writes) {
  const bool two = insn.visible() > 1;
  Form form{.bytes = static_cast<u8>(insn.bits(0) / 8),
            .source_bytes = static_cast<u8>(two && !insn.is_imm(1) ? insn.bits(1) / 8 : 0),
            .memory = insn.memory,
            .writes = writes,
            .locked = insn.lock()};
  using enum Operands;
  if (insn.is_mem(0)) {
    form.operands = !two ? mem : insn.is_reg(1) ? mem_reg : mem_imm;
  } else if (insn.is_imm(0)) {
    form.operands = imm;
  } else {
    form.operands = !two ? reg : insn.is_mem(1) ? reg_mem : insn.is_reg(1) ? reg_reg : reg_imm;
  }
  return form;
}

Form form_with_source(const Insn& insn, unsigned source) {
  return {.operands = insn.is_mem(source) ? Operands::reg_mem : Operands::reg_reg,
          .bytes = static_cast<u8>(insn.bits(0) / 8),
          .source_bytes = static_cast<u8>(insn.bits(source) / 8),
          .memory = insn.memory,
          .writes = true};
}

u8 source_segment(const Insn& insn) {
  for (unsigned i = 0; i < insn.info.operand_count; ++i) {
    if (!insn.is_mem(i) || insn.operand[i].mem.segment == ZYDIS_REGISTER_ES) continue;
    const u8 segment = static_cast<u8>(insn.operand[i].mem.segment - ZYDIS_REGISTER_ES);
    return insn.bits64() && segment < arch::seg_fs ? seg_none : segment;
  }
  if ((insn.info.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_ES) != 0 && !insn.bits64()) return arch::seg_es;
  return seg_none;
}

void op_undefined(Cpu& cpu, const Op* op) { return raise_ud(cpu, op); }

}  // namespace cloister::silicon
