// CMOVcc, SETcc, and the instructions on single flags: CLC STC CMC CLD STD LAHF SAHF (SDM vol. 1, 7.3.1.1, 7.3.6,
// 7.3.14).
#include "silicon/isa/integer/condition.hpp"
#include "silicon/isa/integer/integer.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"
#include "silicon/state/conditions.hpp"

namespace cloister::silicon {
namespace {

/// A 32-bit CMOVcc clears the upper half of its destination even if the condition is false, and its memory operand
/// is read in either case.
template <class T, unsigned code>
void cmov_register(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->dst, condition<code>(cpu.flags) ? cpu.reg<T>(op->src) : cpu.reg<T>(op->dst));
  CLOISTER_NEXT(cpu, op);
}
template <class T, Mem kind, unsigned code>
struct CmovMemory {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(T), Access::read, linear)) return;
    T v;
    if (!Path::template load<T>(cpu, op, linear, v)) return Path::template failed<CmovMemory>(cpu, op);
    cpu.set_reg<T>(op->dst, condition<code>(cpu.flags) ? v : cpu.reg<T>(op->dst));
    CLOISTER_NEXT(cpu, op);
  }
};

template <unsigned code>
Selected select_cmov(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  if (insn.is_reg(1)) op.src = insn.reg(1);
  return {by_wide_size(insn.bits(0),
                       [&](auto size) -> Handler {
                         using T = decltype(size);
                         if (insn.is_reg(1)) return &cmov_register<T, code>;
                         return by_memory_rare(insn.memory, [](auto m) -> Handler {
                           return hot_unless_any<CmovMemory<T, m.kind, code>, m.kind>();
                         });
                       }),
          false, form_as_encoded(insn, true)};
}

template <unsigned code>
void set_register(Cpu& cpu, const Op* op) {
  cpu.set_reg<u8>(op->dst, condition<code>(cpu.flags));
  CLOISTER_NEXT(cpu, op);
}
template <Mem kind, unsigned code>
struct SetMemory {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    u64 linear;
    if (!address<kind>(cpu, op, 1, Access::write, linear)) return;
    const u8 v = condition<code>(cpu.flags);
    if (!Path::template store<u8>(cpu, op, linear, v)) return Path::template failed<SetMemory>(cpu, op);
    CLOISTER_NEXT(cpu, op);
  }
};

template <unsigned code>
Selected select_set(const Insn& insn, Op& op) {
  const Form form = form_as_encoded(insn, true);
  if (insn.is_mem(0)) {
    return {by_memory_rare(insn.memory,
                           [](auto m) -> Handler { return hot_unless_any<SetMemory<m.kind, code>, m.kind>(); }),
            false, form};
  }
  op.dst = insn.reg(0);
  return {&set_register<code>, false, form};
}

template <bool carry>
void put_carry(Cpu& cpu, const Op* op) {
  cpu.flags.set_carry(carry);
  CLOISTER_NEXT(cpu, op);
}
void cmc(Cpu& cpu, const Op* op) {
  cpu.flags.set_carry(!cpu.flags.cf());
  CLOISTER_NEXT(cpu, op);
}
template <bool direction>
void put_direction(Cpu& cpu, const Op* op) {
  cpu.df = direction;
  CLOISTER_NEXT(cpu, op);
}

constexpr u8 ah = 1;
constexpr u64 low_flags = arch::rflags::status & 0xff;

void lahf(Cpu& cpu, const Op* op) {
  cpu.set_reg<u8>(ah, static_cast<u8>((cpu.flags.get() & low_flags) | arch::rflags::fixed1));
  CLOISTER_NEXT(cpu, op);
}
void sahf(Cpu& cpu, const Op* op) {
  cpu.flags.set((cpu.flags.get() & ~low_flags) | (cpu.reg<u8>(ah) & low_flags));
  CLOISTER_NEXT(cpu, op);
}

#define CLOISTER_CONDITION(name, code) \
  {ZYDIS_MNEMONIC_CMOV##name, &select_cmov<code>}, { ZYDIS_MNEMONIC_SET##name, &select_set<code> }

constexpr Row rows[] = {
    CLOISTER_EACH_CONDITION(CLOISTER_CONDITION),
    {ZYDIS_MNEMONIC_CLC, &always<&put_carry<false>>},
    {ZYDIS_MNEMONIC_STC, &always<&put_carry<true>>},
    {ZYDIS_MNEMONIC_CMC, &always<&cmc>},
    {ZYDIS_MNEMONIC_CLD, &always<&put_direction<false>>},
    {ZYDIS_MNEMONIC_STD, &always<&put_direction<true>>},
    {ZYDIS_MNEMONIC_LAHF, &always<&lahf>},
    {ZYDIS_MNEMONIC_SAHF, &always<&sahf>},
};
#undef CLOISTER_CONDITION

}  // namespace

std::span<const Row> condition_rows() { return rows; }

}  // namespace cloister::silicon
