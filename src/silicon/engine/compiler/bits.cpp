// Bit counts and scans, BMI1, BMI2 and MOVBE of 64-bit code by the host's own. Flags that the manual leaves undefined
// are the interpreter's (isa/integer/bit_count.cpp), if anything may look at them.
#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

/// A place in memory takes the second scratch register alone.
Place Translator::source_of_bits(const Op& op, const Form& form) {
  if (form.operands == Operands::reg_mem) return access(op, form.memory, form.bytes, false);
  return place(op.src);
}

/// CF is the host's; SF, ZF and PF are of the result, OF and AF are clear.
void Translator::save_after_bits(const Form& form, const Known& k, HostReg result) {
  constexpr u32 popcnt = 0xf30fb8;
  // The host defines CF and ZF of all but of POPCNT, where it defines all six.
  if (k.code == popcnt || (live() & ~(flag_set::c | flag_set::z)) == 0) return set_flags(k);
  e_.op(0x0f92, 0, rax, Encoder::all(1));  // setc al
  e_.op(0x85, result, result, {form.bytes});
  e_.bytes({0x9f});              // lahf
  e_.bytes({0x80, 0xe4, 0xee});  // and ah, ~(AF | CF)
  e_.bytes({0x08, 0xc4});        // or ah, al: CF
  e_.bytes({0xb0, 0x00});        // mov al, 0
  e_.store(layout_.at(layout_.flags), rax, 2);
  host_ = false;
  memory_ = true;
  // A branch behind it, as string functions have it, waits for no image.
  const u32 behind = now_ + 1;
  if (form.operands != Operands::reg_reg || behind == steps_.size()) return;
  if (const Known& branch = steps_[behind].known; branch.kind == Kind::jump_if && (branch.reads & flag_set::c) == 0) {
    e_.op(0x85, result, result, {form.bytes});
    tested_ = behind;
  }
}

void Translator::field(const Op& op, const Form& form, const Known& k) {
  const bool w = form.bytes == 8;
  const Place from = source_of_bits(op, form);
  const bool has_imm = (k.traits & trait::imm) != 0;
  const HostReg third = k.kind == Kind::field && !has_imm ? in_register(op.aux, scratch) : rax;
  into(op.dst, form.bytes, false, true, [&](HostReg r) {
    if (k.kind == Kind::count) {
      e_.sse(k.code, r, from, w);
    } else if (k.kind == Kind::lowest) {
      e_.vex(0x0038f3, static_cast<HostReg>(k.code), from, {.third = r, .w = w});
    } else {
      e_.vex(k.code, r, from, {.third = third, .w = w}, static_cast<i64>(op.imm & 0xff), has_imm ? 1 : 0);
    }
  });
  if (k.writes != 0) save_after_bits(form, k, in_register(op.dst, second_scratch));
}

/// Of a source of 0 the destination stays, all of it, which hosts do not promise. Flags are as of a test of the source.
void Translator::scan(const Op& op, const Form& form, const Known& k) {
  e_.mov(scratch, source_of_bits(op, form), form.bytes);
  const HostReg kept = host_of[op.dst], r = kept != no_register ? kept : second_scratch;
  const Label zero = e_.label();
  e_.op(0x85, scratch, scratch, {form.bytes});
  e_.jcc(4, zero);
  e_.op(k.code, r, scratch, {form.bytes});
  if (kept == no_register) e_.store(layout_.of_gpr(op.dst), r);
  e_.bind(zero);
  e_.op(0x85, scratch, scratch, {form.bytes});
  set_flags(k);
}

void Translator::move_swapped(const Op& op, const Form& form) {
  const bool w = form.bytes == 8;
  if (form.operands == Operands::mem_reg) {
    const Address to = access(op, form.memory, form.bytes, true);
    return e_.sse(0x0038f1, in_register(op.src, scratch), to, w);
  }
  const Address from = access(op, form.memory, form.bytes, false);
  into(op.dst, form.bytes, false, true, [&](HostReg r) { e_.sse(0x0038f0, r, from, w); });
}

/// MULX: no flags. If both results go to one register, it gets the high half.
void Translator::multiply_apart(const Op& op, const Form& form, const Known& k) {
  const Place from = source_of_bits(op, form);
  const HostReg high = host_of[op.dst], low = host_of[op.aux];
  const HostReg high_at = high != no_register ? high : scratch, low_at = low != no_register ? low : second_scratch;
  e_.vex(k.code, high_at, from, {.third = low_at, .w = form.bytes == 8});
  if (low == no_register) e_.store(layout_.of_gpr(op.aux), low_at);
  if (high == no_register) e_.store(layout_.of_gpr(op.dst), high_at);
}

}  // namespace cloister::silicon
