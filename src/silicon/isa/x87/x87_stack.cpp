// x87 instructions that move registers or the stack and compute nothing: FXCH, FCMOVcc, FFREE, FINCSTP, FDECSTP, FNOP
// (SDM vol. 1, 8.3.3 and 8.3.12).
#include "silicon/isa/x87/x87_select.hpp"

namespace cloister::silicon {
namespace {

void exchange(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  const bool empty0 = x87_empty(fpu, 0), empty_i = x87_empty(fpu, op->src);
  bool done = true;
  x87_clear_c1(fpu);
  if (empty0 || empty_i) {
    done = x87_stack_fault(cpu, op, false);
    if (done && empty0) x87_set(fpu, 0, x87::indefinite);
    if (done && empty_i) x87_set(fpu, op->src, x87::indefinite);
  }
  if (done) std::swap(x87_st(fpu, 0), x87_st(fpu, op->src));
  CLOISTER_NEXT(cpu, op);
}

enum class Condition : u8 { b, e, be, u };

bool holds(const LazyFlags& flags, Condition c) {
  switch (c) {
    case Condition::b: return flags.cf();
    case Condition::e: return flags.zf();
    case Condition::be: return flags.cf() || flags.zf();
    default: return flags.pf();
  }
}

/// An empty register is a stack underflow whether the condition holds or not.
template <Condition condition, bool wanted>
void move_if(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  if (x87_empty(fpu, 0) || x87_empty(fpu, op->src)) {
    if (x87_stack_fault(cpu, op, false)) x87_set(fpu, 0, x87::indefinite);
  } else {
    if (holds(cpu.flags, condition) == wanted) x87_set(fpu, 0, x87_st(fpu, op->src));
  }
  CLOISTER_NEXT(cpu, op);
}

void free_register(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  cpu.fpu.valid &= static_cast<u8>(~(1u << x87_physical(cpu.fpu, op->src)));
  x87_clear_c1(cpu.fpu);
  x87_pop_after(cpu.fpu, op);
  CLOISTER_NEXT(cpu, op);
}

template <int step>
void rotate(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  cpu.fpu.top = static_cast<u8>(cpu.fpu.top + step) & 7;
  x87_clear_c1(cpu.fpu);
  CLOISTER_NEXT(cpu, op);
}

void nothing(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  CLOISTER_NEXT(cpu, op);
}

/// FENI, FDISI and FSETPM of the 8087 and 80287 do nothing, and do not wait.
void obsolete(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  CLOISTER_NEXT(cpu, op);
}

/// FWAIT: #NM only if MP and TS are set; EM does not matter (SDM vol. 3A, table 2-2).
void wait(Cpu& cpu, const Op* op) {
  constexpr u64 both = arch::cr0::mp | arch::cr0::ts;
  if ((cpu.cr0 & both) == both) return raise_nm(cpu, op);
  if ((cpu.fpu.status & x87::es) != 0) return raise(cpu, op, {arch::vector::mf, false, 0});
  CLOISTER_NEXT(cpu, op);
}

Selected select_wait(const Insn&, Op&) { return {&wait}; }

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_FXCH, select_x87<&exchange>},
    {ZYDIS_MNEMONIC_FCMOVB, select_x87<&move_if<Condition::b, true>>},
    {ZYDIS_MNEMONIC_FCMOVE, select_x87<&move_if<Condition::e, true>>},
    {ZYDIS_MNEMONIC_FCMOVBE, select_x87<&move_if<Condition::be, true>>},
    {ZYDIS_MNEMONIC_FCMOVU, select_x87<&move_if<Condition::u, true>>},
    {ZYDIS_MNEMONIC_FCMOVNB, select_x87<&move_if<Condition::b, false>>},
    {ZYDIS_MNEMONIC_FCMOVNE, select_x87<&move_if<Condition::e, false>>},
    {ZYDIS_MNEMONIC_FCMOVNBE, select_x87<&move_if<Condition::be, false>>},
    {ZYDIS_MNEMONIC_FCMOVNU, select_x87<&move_if<Condition::u, false>>},
    {ZYDIS_MNEMONIC_FFREE, select_x87<&free_register>},
    {ZYDIS_MNEMONIC_FFREEP, select_x87<&free_register, 1>},
    {ZYDIS_MNEMONIC_FINCSTP, select_x87<&rotate<1>>},
    {ZYDIS_MNEMONIC_FDECSTP, select_x87<&rotate<-1>>},
    {ZYDIS_MNEMONIC_FNOP, select_x87<&nothing>},
    {ZYDIS_MNEMONIC_FENI8087_NOP, select_x87<&obsolete>},
    {ZYDIS_MNEMONIC_FDISI8087_NOP, select_x87<&obsolete>},
    {ZYDIS_MNEMONIC_FSETPM287_NOP, select_x87<&obsolete>},
    {ZYDIS_MNEMONIC_FWAIT, select_wait},
};

}  // namespace

std::span<const Row> x87_stack_rows() { return rows; }

}  // namespace cloister::silicon
