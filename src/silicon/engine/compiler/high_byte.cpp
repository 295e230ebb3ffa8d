// AH, CH, DH and BH: the second bytes of the first four registers, which no instruction with REX can name.
//
// Three of those registers are in themselves, and AH is AH in the scratch register, when that has a copy of the guest's
// RAX. So the other operand must need no REX: it is brought into AL, or into memory beside the frame's register.
#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

namespace {
using enum Operands;
constexpr bool is_high(u8 r) { return r % 8 != 0; }
/// As it is encoded where there is no REX.
constexpr HostReg second_byte(u8 r) { return static_cast<HostReg>(4 + r / 8); }
/// An operand size that makes no prefix, and registers that ask for none.
constexpr Encoder::Sizes no_rex{1, 8, 8};
constexpr HostReg guest_rax = host_of[arch::rax];
}  // namespace

/// Zero-extended. No flags change.
void Translator::high_to_scratch(u8 r) {
  if (r / 8 == arch::rax) e_.mov(rax, guest_rax, 4);
  e_.op(0x0fb6, rax, second_byte(r), no_rex);
}

void Translator::high_byte(const Op& op, const Form& form, const Known& k) {
  u32 to_rm = (k.code << 3) & 0xff, by_imm = 0x80, digit = k.code;
  if (k.kind == Kind::test) to_rm = 0x84, by_imm = 0xf6, digit = 0;
  if (k.kind == Kind::move) to_rm = 0x88, by_imm = 0xc6, digit = 0;
  const u32 to_reg = k.kind == Kind::test ? to_rm : to_rm | 2;
  const bool reads_memory = form.operands == reg_mem;
  Place memory = rax;
  if (form.operands == mem_reg) memory = access(op, form.memory, 1, form.writes);
  if (reads_memory) {
    memory = access(op, form.memory, 1, false);
    // Out of the address's registers, which REX names.
    e_.op(0x0fb6, second_scratch, memory, {4, 4, 1});
    e_.store(layout_.at(layout_.rip), second_scratch, 1);
    memory = layout_.at(layout_.rip);
  }
  use_flags(k);
  if (form.operands == mem_reg || (form.operands == reg_reg && !is_high(op.dst))) {
    high_to_scratch(op.src);
    e_.op(to_rm, rax, form.operands == mem_reg ? memory : place(op.dst / 8), Encoder::all(1));
    return set_flags(k);
  }
  const bool ah = op.dst / 8 == arch::rax;
  const HostReg dst = second_byte(op.dst);
  Place src = memory;
  if (form.operands == reg_reg) {
    src = is_high(op.src) ? Place{second_byte(op.src)} : place(op.src / 8);
    if (!is_high(op.src) && op.src / 8 == arch::rax) {
      src = rax;  // AL of the copy
    } else if (!is_high(op.src) && !src.memory && src.reg >= 4) {
      e_.store(layout_.of_gpr(op.src / 8), src.reg);
      src = layout_.of_gpr(op.src / 8);
    }
  }
  const bool copy = ah || (form.operands == reg_reg && op.src / 8 == arch::rax);
  if (copy) e_.mov(rax, guest_rax);
  if (form.operands == reg_imm) {
    e_.op(by_imm, static_cast<HostReg>(digit), dst, no_rex, static_cast<i64>(op.imm & 0xff), 1);
  } else {
    e_.op(to_reg, dst, src, no_rex);
  }
  if (ah && form.writes) e_.mov(guest_rax, rax);
  set_flags(k);
}

}  // namespace cloister::silicon
