// Decoding with Zydis, and the choice of a handler by the rows of all rooms of the instruction set.
#include "silicon/decode/decode.hpp"

#include <array>
#include <bit>
#include <limits>

#include "silicon/decode/instruction_set.hpp"
#include "silicon/isa/avx/rows.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/system/rows.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/x87/rows.hpp"
#include "silicon/sgx/illegal.hpp"
#include "silicon/sgx/leaves/rows.hpp"
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

namespace {

struct DecoderMode {
  ZydisMachineMode machine;
  ZydisStackWidth stack;
};
/// By CodeMode.
constexpr std::array<DecoderMode, 7> decoder_modes{{
    {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
    {ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
    {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
    {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    {ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16},
}};
/// Encodings that this processor does not have, so that they are the NOP or WBINVD that they were before.
constexpr std::array absent_extensions{ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CLDEMOTE,
                                       ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_KNC};

const ZydisDecoder& decoder_for(CodeMode mode) {
  static const auto decoders = [] {
    std::array<ZydisDecoder, decoder_modes.size()> d;
    for (std::size_t i = 0; i < d.size(); ++i) {
      ZydisDecoderInit(&d[i], decoder_modes[i].machine, decoder_modes[i].stack);
      for (const auto extension : absent_extensions) ZydisDecoderEnableMode(&d[i], extension, ZYAN_FALSE);
    }
    return d;
  }();
  return decoders[static_cast<std::size_t>(mode)];
}

/// MOVSD and CMPSD name two instructions each: the SSE rows, which come later, are asked first.
using SelectTable = std::array<std::array<Select, 2>, ZYDIS_MNEMONIC_MAX_VALUE + 1>;
const SelectTable& select_table() {
  static const SelectTable table = [] {
    SelectTable t{};
    for (const auto rows :
         {integer_rows(), bit_rows(),         string_rows(),  branch_rows(),  stack_rows(), legacy_rows(),
          sse_rows(),     sse_integer_rows(), mmx_rows(),     crypto_rows(),  avx_rows(),   x87_rows(),
          xsave_rows(),   system_rows(),      control_rows(), segment_rows(), iret_rows(),  software_interrupt_rows(),
          syscall_rows(), sgx_rows()}) {
      for (const Row& row : rows) t[row.mnemonic] = {row.select, t[row.mnemonic][0]};
    }
    return t;
  }();
  return table;
}

u8 address_register(ZydisRegister reg) {
  switch (reg) {
    case ZYDIS_REGISTER_NONE: return reg_zero;
    case ZYDIS_REGISTER_RIP:
    case ZYDIS_REGISTER_EIP:
    case ZYDIS_REGISTER_IP: return reg_rip_base;
    default: return static_cast<u8>(ZydisRegisterGetId(reg));
  }
}

/// Base 101 with mod 00 is no base but disp32, also with REX.B (SDM vol. 2A, table 2-3); with 67, Zydis names R13D.
void correct_memory(const ZydisDecodedInstruction& info, ZydisDecodedOperandMem& m) {
  if ((info.attributes & ZYDIS_ATTRIB_HAS_SIB) == 0 || info.raw.modrm.mod != 0 || info.raw.sib.base != 5) return;
  m.base = ZYDIS_REGISTER_NONE;
  m.disp.has_displacement = ZYAN_TRUE;
  m.disp.value = info.raw.disp.value;
}

/// Fills in the memory operand of `op`. False: its displacement cannot be kept.
bool set_memory(Insn& insn, const ZydisDecodedOperandMem& m, Op& op) {
  const bool rip_relative = address_register(m.base) == reg_rip_base;
  i64 disp = m.disp.has_displacement ? m.disp.value : 0;
  if (rip_relative) disp += insn.offset + insn.info.length;
  if (insn.bits64() && !rip_relative && disp != static_cast<i32>(disp)) {
    op.imm = static_cast<u64>(disp);  // MOV's 64-bit offsets: its row knows
    disp = 0;
  } else if (disp != static_cast<i32>(disp) && insn.bits64()) {
    return false;
  }
  op.disp = static_cast<i32>(disp);
  op.base = address_register(m.base);
  op.index = address_register(m.index);
  op.scale = m.scale == 0 ? u8{0} : static_cast<u8>(std::countr_zero(static_cast<unsigned>(m.scale)));
  op.seg = m.segment == ZYDIS_REGISTER_NONE ? seg_none : static_cast<u8>(ZydisRegisterGetId(m.segment));
  const bool wide = insn.bits64() && insn.info.address_width == 64;
  const bool has_base = op.seg == arch::seg_fs || op.seg == arch::seg_gs;
  if (!wide) {
    insn.memory = Mem::any;
    op.scale = static_cast<u8>(op.scale | ((insn.info.address_width / 8) << 4));
  } else {
    insn.memory = op.index != reg_zero || has_base ? Mem::full : Mem::flat;
  }
  insn.has_memory = true;
  return true;
}

void op_too_long(Cpu& cpu, const Op* op) { return raise_gp(cpu, op); }

/// Not implemented: #UD, counted under the mnemonic's name; `op->imm` is the ZydisISASet.
void op_unimplemented(Cpu& cpu, const Op* op) {
  cpu.vcpu->count_unimplemented(static_cast<ZydisMnemonic>(op->mnemonic), static_cast<ZydisISASet>(op->imm),
                                cpu.rip_of(op));
  return raise_ud(cpu, op);
}

/// Decodes into `insn` and `op`; the row's choice, or a handler that raises what the manual says.
struct Choice {
  Selected selected;
  bool truncated = false;
  bool known = false;
};

/// #UD, and counted unless no processor would have it; the operation keeps what it would belong to.
Choice not_implemented(const Insn& insn, Op& op) {
  if (!offered_by(insn.info.meta.isa_set, insn.info.mnemonic)) return {.selected = {op_undefined, true}};
  op.imm = insn.info.meta.isa_set;
  return {.selected = {op_unimplemented, true}};
}

Choice choose(std::span<const u8> bytes, CodeMode mode, u16 offset, EnclaveCode where, Insn& insn, Op& op) {
  insn.mode = mode;
  insn.offset = offset;
  op.offset = offset;
  const ZyanStatus status = ZydisDecoderDecodeFull(&decoder_for(mode), bytes.data(),
                                                   std::min<std::size_t>(bytes.size(), 15), &insn.info, insn.operand);
  if (status == ZYDIS_STATUS_NO_MORE_DATA && bytes.size() < 15) return {.selected = {}, .truncated = true};
  if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
    op.length = 15;
    return {.selected = {op_too_long, true}};
  }
  if (!ZYAN_SUCCESS(status)) {
    op.length = 1;
    return {.selected = {op_undefined, true}};
  }
  op.length = insn.info.length;
  // Zydis reads the VEX forms of Knights Corner with that mode off, too.
  if (insn.info.meta.isa_ext == ZYDIS_ISA_EXT_KNC || insn.info.meta.isa_ext == ZYDIS_ISA_EXT_KNCE) {
    return {.selected = {op_undefined, true}};
  }
  // Only LES and LDS have these bytes in real and virtual-8086 mode (SDM vol. 2A, 2.3.5).
  if (as_8086(mode) && insn.info.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
    return {.selected = {op_undefined, true}};
  }
  op.mnemonic = static_cast<u16>(insn.info.mnemonic);
  if (illegal_in_enclave(insn, where)) return {.selected = {op_undefined, true}};
  for (unsigned i = 0; i < insn.info.operand_count; ++i) {
    ZydisDecodedOperand& o = insn.operand[i];
    if (o.type != ZYDIS_OPERAND_TYPE_MEMORY || o.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) continue;
    correct_memory(insn.info, o.mem);
    if (!set_memory(insn, o.mem, op)) return not_implemented(insn, op);
    break;
  }
  for (const Select select : select_table()[insn.info.mnemonic]) {
    if (select == nullptr) break;
    const Selected s = select(insn, op);
    if (s.handler != nullptr) return {.selected = s, .known = true};
  }
  return not_implemented(insn, op);
}

std::string operand_name(const ZydisDecodedOperand& o) {
  const std::string bits = std::to_string(o.size);
  switch (o.type) {
    case ZYDIS_OPERAND_TYPE_MEMORY: return (o.mem.type == ZYDIS_MEMOP_TYPE_AGEN ? "agen" : "m") + bits;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: return (o.imm.is_relative ? "rel" : "imm") + bits;
    case ZYDIS_OPERAND_TYPE_POINTER: return "ptr";
    default: break;
  }
  switch (ZydisRegisterGetClass(o.reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64: return "r" + bits;
    case ZYDIS_REGCLASS_XMM: return "xmm";
    case ZYDIS_REGCLASS_YMM: return "ymm";
    case ZYDIS_REGCLASS_MMX: return "mm";
    case ZYDIS_REGCLASS_X87: return "st";
    case ZYDIS_REGCLASS_SEGMENT: return "sreg";
    case ZYDIS_REGCLASS_CONTROL: return "cr";
    case ZYDIS_REGCLASS_DEBUG: return "dr";
    default: return "reg";
  }
}

}  // namespace

Decoded decode(std::span<const u8> available, CodeMode mode, u16 offset, Op& op, EnclaveCode where) {
  Insn insn;
  const Choice c = choose(available, mode, offset, where, insn, op);
  op.handler = c.selected.handler;
  return {.ends_block = c.selected.ends_block, .truncated = c.truncated, .form = c.selected.form};
}

FormName form_of(std::span<const u8> bytes, CodeMode mode) {
  Insn insn;
  Op op;
  const Choice c = choose(bytes, mode, 0, EnclaveCode::outside, insn, op);
  FormName f;
  f.known = c.known;
  if (op.mnemonic == 0) return f;
  f.mnemonic = insn.info.mnemonic;
  if (insn.lock()) f.name = "lock ";
  if (insn.rep()) f.name += "rep ";
  if (insn.repne()) f.name += "repne ";
  f.name += ZydisMnemonicGetString(insn.info.mnemonic);
  for (unsigned i = 0; i < insn.visible(); ++i) f.name += (i == 0 ? " " : ", ") + operand_name(insn.operand[i]);
  return f;
}

}  // namespace cloister::silicon
