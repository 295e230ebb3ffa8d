// x87 stores: FST, FSTP, FIST, FISTP, FISTTP and FBSTP (SDM vol. 1, 8.3.3). A store to memory with an unmasked invalid
// operation, overflow or underflow changes neither memory nor the stack (8.5.1, 8.5.4, 8.5.5), nor looks at its
// address.
#include "silicon/isa/x87/x87_select.hpp"

namespace cloister::silicon {
namespace {

CLOISTER_X87_STORE(fst_m32, "fsts (%[to])")
CLOISTER_X87_STORE(fst_m64, "fstl (%[to])")
CLOISTER_X87_STORE(fstp_m80, "fstpt (%[to])")
CLOISTER_X87_STORE(fist_m16, "fistps (%[to])")
CLOISTER_X87_STORE(fist_m32, "fistpl (%[to])")
CLOISTER_X87_STORE(fist_m64, "fistpll (%[to])")
CLOISTER_X87_STORE(fisttp_m16, "fisttps (%[to])")
CLOISTER_X87_STORE(fisttp_m32, "fisttpl (%[to])")
CLOISTER_X87_STORE(fisttp_m64, "fisttpll (%[to])")
CLOISTER_X87_STORE(fbstp, "fbstp (%[to])")

struct Pending {
  X87Stored stored;
  bool underflow = false;
  bool suppressed = false;  ///< an unmasked exception forbids the store
};

/// What the store would do; nothing is changed yet.
Pending prepare(const FpuState& fpu, X87Store f) {
  Pending p;
  p.underflow = x87_empty(fpu, 0);
  if (p.underflow) {
    // The indefinite of the format is what a NaN is stored as.
    p.stored = f(x87::indefinite, fpu.control | x87::flags);
    p.stored.status = x87::ie;
  } else {
    p.stored = f(fpu.st[fpu.top], fpu.control);
  }
  p.suppressed = (p.stored.status & ~fpu.control & (x87::flags & ~x87::pe)) != 0;
  return p;
}

void finish(Cpu& cpu, const Op* op, const Pending& p) {
  x87_note(cpu, op);
  if (p.underflow) {
    x87_stack_fault(cpu, op, false);
  } else {
    x87_report(cpu, op, p.stored.status);
  }
  if (!p.suppressed) x87_pop_after(cpu.fpu, op);
}

template <X87Store f, unsigned bytes>
void memory(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  {
    const Pending p = prepare(cpu.fpu, f);
    if (!p.suppressed) {
      std::array<u8, bytes> raw;
      u64 linear = 0;
      if (!operand_address<From::memory>(cpu, op, bytes, Access::write, linear)) return;
      std::memcpy(raw.data(), p.stored.bytes.data(), bytes);
      if (!store(cpu, op, linear, raw)) return;
    }
    finish(cpu, op, p);
  }
  CLOISTER_NEXT(cpu, op);
}

/// FST and FSTP ST(i): a copy, whatever the value.
void copy(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  bool done = true;
  if (x87_empty(fpu, 0)) {
    done = x87_stack_fault(cpu, op, false);
    if (done) x87_set(fpu, op->src, x87::indefinite);
  } else {
    x87_clear_c1(fpu);
    x87_set(fpu, op->src, x87_st(fpu, 0));
  }
  if (done) x87_pop_after(fpu, op);
  CLOISTER_NEXT(cpu, op);
}

/// FSTPNCE, an alias of FSTP ST(i) that raises no stack underflow.
void copy_unchecked(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  x87_note(cpu, op);
  FpuState& fpu = cpu.fpu;
  x87_clear_c1(fpu);
  if (!x87_empty(fpu, 0)) x87_set(fpu, op->src, x87_st(fpu, 0));
  x87_pop_after(fpu, op);
  CLOISTER_NEXT(cpu, op);
}

template <unsigned pops>
Selected select_fst(const Insn& insn, Op& op) {
  x87_fill(insn, op, pops);
  if (!insn.has_memory) return {&copy};
  switch (insn.info.opcode) {
    case 0xd9: return {&memory<fst_m32, 4>};
    case 0xdd: return {&memory<fst_m64, 8>};
    default: return {&memory<fstp_m80, 10>};
  }
}

template <unsigned pops, X87Store m16, X87Store m32, X87Store m64>
Selected select_fist(const Insn& insn, Op& op) {
  x87_fill(insn, op, pops);
  switch (insn.bits(0)) {
    case 16: return {&memory<m16, 2>};
    case 32: return {&memory<m32, 4>};
    default: return {&memory<m64, 8>};
  }
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_FST, select_fst<0>},
    {ZYDIS_MNEMONIC_FSTP, select_fst<1>},
    {ZYDIS_MNEMONIC_FSTPNCE, select_x87<&copy_unchecked, 1>},
    {ZYDIS_MNEMONIC_FIST, select_fist<0, fist_m16, fist_m32, fist_m64>},
    {ZYDIS_MNEMONIC_FISTP, select_fist<1, fist_m16, fist_m32, fist_m64>},
    {ZYDIS_MNEMONIC_FISTTP, select_fist<1, fisttp_m16, fisttp_m32, fisttp_m64>},
    {ZYDIS_MNEMONIC_FBSTP, select_x87<&memory<fbstp, 10>, 1>},
};

}  // namespace

std::span<const Row> x87_store_rows() { return rows; }

}  // namespace cloister::silicon
