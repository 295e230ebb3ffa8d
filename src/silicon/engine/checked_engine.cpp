// See checked_engine.hpp.
#include "silicon/engine/checked_engine.hpp"

#include <Zydis/Zydis.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

namespace {

/// In front of every operation: control is back.
void op_comes_back(Cpu& cpu, const Op* op) { cpu.next = op; }

[[noreturn]] void differs(const Op& op, const std::string& what) {
  std::fprintf(stderr, "cloister: %s at %u of its block %s\n",
               ZydisMnemonicGetString(static_cast<ZydisMnemonic>(op.mnemonic)), op.offset, what.c_str());
  std::abort();
}

bool moves_stack_pointer(u16 mnemonic) {
  return mnemonic == ZYDIS_MNEMONIC_PUSH || mnemonic == ZYDIS_MNEMONIC_POP || mnemonic == ZYDIS_MNEMONIC_CALL ||
         mnemonic == ZYDIS_MNEMONIC_RET;
}

bool names_destination(Operands operands) {
  using enum Operands;
  return operands == reg_reg_imm || operands == reg_mem_imm || operands == reg || operands == reg_reg ||
         operands == reg_imm || operands == reg_cl || operands == reg_mem;
}

/// Products, quotients and remainders go where the mnemonic says.
bool is_wide_arithmetic(const Op& op, const Form& form) {
  const u16 m = op.mnemonic;
  const bool one_operand = form.operands == Operands::source || form.operands == Operands::mem;
  return m == ZYDIS_MNEMONIC_MUL || m == ZYDIS_MNEMONIC_DIV || m == ZYDIS_MNEMONIC_IDIV ||
         (m == ZYDIS_MNEMONIC_IMUL && one_operand);
}

/// The bits of register `r` that a result in the operand `named` changes.
u64 part_of(u8 named, const Form& form, u8 r) {
  if (form.bytes == 1) return named / 8 == r ? u64{0xff} << (8 * (named % 8)) : 0;
  if (named != r) return 0;
  return form.bytes == 2 ? 0xffff : ~u64{0};
}

/// The bits of register `r` that the operation may change.
u64 may_change(const Op& op, const Form& form, u8 r) {
  const u16 m = op.mnemonic;
  if (r == arch::rsp && moves_stack_pointer(m)) return ~u64{0};
  if (is_wide_arithmetic(op, form)) return r == arch::rax || r == arch::rdx ? ~u64{0} : 0;
  if (form.operands == Operands::reg_xmm) return op.dst == r ? ~u64{0} : 0;  // of a vector's parts, all are wide
  u64 bits = 0;
  // What these find in their destination goes to the source, or to the accumulator.
  if (m == ZYDIS_MNEMONIC_XADD || m == ZYDIS_MNEMONIC_XCHG) bits |= part_of(op.src, form, r);
  if (m == ZYDIS_MNEMONIC_CMPXCHG) bits |= part_of(0, form, r);
  if (form.writes && names_destination(form.operands)) bits |= part_of(op.dst, form, r);
  if (m == ZYDIS_MNEMONIC_MULX) bits |= part_of(op.aux, form, r);
  return bits;
}

using Registers = decltype(Cpu::gpr);

void hold_against_form(const Cpu& cpu, const Op& op, const Form& form, const Registers& before, bool faulted) {
  if (cpu.gpr[reg_zero] != 0) differs(op, "changed the register that is zero");
  if (form.operands == Operands::other || form.operands == Operands::implied) return;
  for (u8 r = 0; r < 16; ++r) {
    const u64 changed = before[r] ^ cpu.gpr[r];
    if (faulted && changed != 0) differs(op, "faulted after it had changed register " + std::to_string(r));
    if ((changed & ~may_change(op, form, r)) != 0)
      differs(op, "changed register " + std::to_string(r) + ", of which its form says nothing");
  }
  // These leave it as it is for a source of 0.
  const bool scans = op.mnemonic == ZYDIS_MNEMONIC_BSF || op.mnemonic == ZYDIS_MNEMONIC_BSR;
  const bool long_result = form.writes && names_destination(form.operands) && form.bytes == 4 && !faulted && !scans;
  if (long_result && cpu.gpr[op.dst] >> 32 != 0) differs(op, "left the upper half of a register of 32 bits");
}

}  // namespace

void CheckedEngine::take(Block& block) {
  block.handlers.clear();
  for (Op& op : block.ops) {
    block.handlers.push_back(op.handler);
    op.handler = op_comes_back;
  }
}

void CheckedEngine::run(Cpu& cpu, const Op* first) {
  for (const Op* op = first; op != nullptr; op = cpu.next) {
    const auto index = static_cast<std::size_t>(op - cpu.block->ops.data());
    // A store may have made the block stale: then every operation leaves (poison_if_stale).
    const Handler handler = op->handler == op_comes_back ? cpu.block->handlers[index] : op->handler;
    const Registers before = cpu.gpr;
    const Form form = cpu.block->forms[index];
    const Op done = *op;
    cpu.next = nullptr;
    handler(cpu, op);
    const bool left = cpu.next == nullptr;
    const bool undone = left && cpu.leave != Leave::jump && cpu.leave != Leave::part;
    hold_against_form(cpu, done, form, before, undone);
  }
}

}  // namespace cloister::silicon
