// Instructions that do little or nothing here: NOP and its forms, PREFETCHh, fences and cache-line flushes
// (SDM vol. 1, 7.3.17, 11.4.4); RDRAND, RDSEED and RDPID (7.3.17); UD0, UD1 and UD2.
#include <immintrin.h>

#include "silicon/isa/integer/integer.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"

namespace cloister::silicon {
namespace {

void nop(Cpu& cpu, const Op* op) { CLOISTER_NEXT(cpu, op); }

/// Processors differ in what 0F 0D with a register is, #UD or NOP: it is none of ours.
Selected select_nop(const Insn& insn, Op&) {
  const bool prefetch = insn.info.opcode_map == ZYDIS_OPCODE_MAP_0F && insn.info.opcode == 0x0d;
  if (prefetch && !insn.is_mem(0)) return {};
  return {&nop, false, {.operands = Operands::none}};
}
Selected select_prefetch(const Insn&, Op&) { return {&nop, false, {.operands = Operands::none}}; }

/// Loads and stores of this processor become visible to the others in their order.
void fence(Cpu& cpu, const Op* op) {
  _mm_mfence();
  CLOISTER_NEXT(cpu, op);
}

/// CLFLUSH and its kin are checked as a load of one byte.
struct Flush {
  template <class T>
  static bool apply(Cpu&, const Op*, T) {
    return true;
  }
};
Selected select_flush(const Insn& insn, Op& op) { return {source_handler<Flush, u8>(insn, op, 0)}; }

template <class T>
void random(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->dst, static_cast<T>(cpu.vcpu->random()));
  cpu.flags.set(arch::rflags::cf);
  CLOISTER_NEXT(cpu, op);
}
Selected select_random(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  return {by_wide_size(insn.bits(0), [](auto size) -> Handler { return &random<decltype(size)>; })};
}

void rdpid(Cpu& cpu, const Op* op) {
  cpu.gpr[op->dst] = static_cast<u32>(cpu.tsc_aux);
  CLOISTER_NEXT(cpu, op);
}
Selected select_rdpid(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  return {&rdpid};
}

Selected select_undefined(const Insn&, Op&) { return {&op_undefined, true}; }

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_NOP, &select_nop},
    {ZYDIS_MNEMONIC_PREFETCH, &select_prefetch},
    {ZYDIS_MNEMONIC_PREFETCHNTA, &select_prefetch},
    {ZYDIS_MNEMONIC_PREFETCHT0, &select_prefetch},
    {ZYDIS_MNEMONIC_PREFETCHT1, &select_prefetch},
    {ZYDIS_MNEMONIC_PREFETCHT2, &select_prefetch},
    {ZYDIS_MNEMONIC_PREFETCHW, &select_prefetch},
    {ZYDIS_MNEMONIC_PREFETCHWT1, &select_prefetch},
    {ZYDIS_MNEMONIC_LFENCE, &always<&fence>},
    {ZYDIS_MNEMONIC_MFENCE, &always<&fence>},
    {ZYDIS_MNEMONIC_SFENCE, &always<&fence>},
    {ZYDIS_MNEMONIC_CLFLUSH, &select_flush},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, &select_flush},
    {ZYDIS_MNEMONIC_CLWB, &select_flush},
    {ZYDIS_MNEMONIC_RDRAND, &select_random},
    {ZYDIS_MNEMONIC_RDSEED, &select_random},
    {ZYDIS_MNEMONIC_RDPID, &select_rdpid},
    {ZYDIS_MNEMONIC_UD0, &select_undefined},
    {ZYDIS_MNEMONIC_UD1, &select_undefined},
    {ZYDIS_MNEMONIC_UD2, &select_undefined},
};

}  // namespace

std::span<const Row> hint_rows() { return rows; }

}  // namespace cloister::silicon
