// Where the guest's registers and an instruction's constants are.
#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

Place Translator::place(u8 guest) const {
  if (guest < host_of.size() && host_of[guest] != no_register) return host_of[guest];
  return layout_.of_gpr(guest);
}

HostReg Translator::in_register(u8 guest, HostReg temporary) {
  const Place p = value(guest);
  if (!p.memory) return p.reg;
  e_.mov(temporary, p);
  return temporary;
}

/// What does is the rule: no memory, no constant in parts, no flags by hand.
bool Translator::spares_second(const Op& op, const Form& form, const Known& k) const {
  const bool registers = form.operands == Operands::reg || form.operands == Operands::reg_reg ||
                         form.operands == Operands::reg_imm || form.operands == Operands::reg_cl;
  switch (k.kind) {
    case Kind::nothing: return true;
    case Kind::binary:
      return registers && !uses_high_byte(op, form) &&
             !(form.operands == Operands::reg_imm && form.bytes >= 4 && must_blind(static_cast<i64>(op.imm)));
    case Kind::test:
    case Kind::unary: return registers && !uses_high_byte(op, form);
    case Kind::move:
      return registers && !uses_high_byte(op, form) && !(form.operands == Operands::reg_imm && form.bytes < 4);
    case Kind::extend: return form.operands == Operands::reg_reg && (form.source_bytes != 1 || op.src % 8 == 0);
    case Kind::shift: return registers && (live() & (flag_set::a | flag_set::o)) == 0;
    case Kind::lea: return !must_blind(displacement(op)) && (op.index == reg_zero || !value(op.index).memory);
    case Kind::jump_if: return goes_on();
    default: return false;
  }
}

void Translator::put(u8 guest, HostReg from) {
  const HostReg r = host_of[guest];
  r != no_register ? e_.mov(r, from) : e_.store(layout_.of_gpr(guest), from);
}

/// No flags change.
void Translator::constant(HostReg to, i64 value) {
  if (!must_blind(value)) return e_.mov_imm(to, static_cast<u64>(value));
  e_.mov_imm(to, static_cast<u64>(value) - static_cast<u64>(i64{blind_}));
  e_.lea(to, {.base = to, .disp = blind_});
}

void Translator::add_constant(HostReg to, i64 value, HostReg temporary) {
  if (value == 0) return;
  if (!must_blind(value) && value == static_cast<i32>(value))
    return e_.lea(to, {.base = to, .disp = static_cast<i32>(value)});
  constant(temporary, value);
  e_.lea(to, {.base = to, .index = temporary});
}

}  // namespace cloister::silicon
