// Instructions that 64-bit mode does not have: decimal arithmetic, BOUND and SALC (SDM vol. 1, 7.3.4 and 7.3.8.5;
// vol. 2).
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"

namespace cloister::silicon {
namespace {

constexpr u8 al = 0, ah = 1;  // byte offsets

/// AAA and AAS: one unpacked decimal digit. `step` corrects AX.
template <int step>
void ascii_adjust(Cpu& cpu, const Op* op) {
  const bool adjust = (cpu.reg<u8>(al) & 15) > 9 || cpu.flags.af();
  u16 ax = cpu.reg<u16>(arch::rax);
  if (adjust) ax = static_cast<u16>(ax + step);
  cpu.set_reg<u16>(arch::rax, ax & 0xff0f);
  cpu.flags.set_result<u8>(static_cast<u8>(ax & 15), adjust, false, adjust);
  CLOISTER_NEXT(cpu, op);
}

void aam(Cpu& cpu, const Op* op) {
  const u8 base = static_cast<u8>(op->imm);
  if (base == 0) return raise_de(cpu, op);
  const u8 value = cpu.reg<u8>(al);
  cpu.set_reg<u8>(ah, value / base);
  cpu.set_reg<u8>(al, value % base);
  cpu.flags.set_logic<u8>(value % base);
  CLOISTER_NEXT(cpu, op);
}

void aad(Cpu& cpu, const Op* op) {
  const u8 value = static_cast<u8>(cpu.reg<u8>(al) + cpu.reg<u8>(ah) * op->imm);
  cpu.set_reg<u16>(arch::rax, value);
  cpu.flags.set_logic<u8>(value);
  CLOISTER_NEXT(cpu, op);
}

/// DAA and DAS: two packed digits. The low digit's correction of DAS may borrow; that of DAA leaves no other carry than
/// the high digit's.
template <bool subtract>
void decimal_adjust(Cpu& cpu, const Op* op) {
  const u8 before = cpu.reg<u8>(al);
  const bool low = (before & 15) > 9 || cpu.flags.af();
  const bool high = before > 0x99 || cpu.flags.cf();
  const int correction = (low ? 6 : 0) + (high ? 0x60 : 0);
  const u8 after = static_cast<u8>(subtract ? before - correction : before + correction);
  const bool borrow = subtract && low && before < 6;
  cpu.set_reg<u8>(al, after);
  cpu.flags.set_result<u8>(after, high || borrow, false, low);
  CLOISTER_NEXT(cpu, op);
}

/// SALC, undocumented: AL = CF ? FFH : 0.
void salc(Cpu& cpu, const Op* op) {
  cpu.set_reg<u8>(al, cpu.flags.cf() ? 0xff : 0);
  CLOISTER_NEXT(cpu, op);
}

/// BOUND: #BR unless lower <= index <= upper, signed; both bounds are in memory, and the upper one is not read where
/// the lower one says enough.
template <class T>
void bound(Cpu& cpu, const Op* op) {
  using S = std::make_signed_t<T>;
  u64 linear;
  if (!address<Mem::any>(cpu, op, 2 * sizeof(T), Access::read, linear)) return;
  const Maybe lower = load_cold<T>(cpu, op, linear);
  if (!lower.ok) return;
  const S index = static_cast<S>(cpu.reg<T>(op->dst));
  if (index < static_cast<S>(lower.value)) return raise(cpu, op, {.vector = arch::vector::br});
  const Maybe upper = load_cold<T>(cpu, op, static_cast<u32>(linear + sizeof(T)));
  if (!upper.ok) return;
  if (index > static_cast<S>(upper.value)) return raise(cpu, op, {.vector = arch::vector::br});
  CLOISTER_NEXT(cpu, op);
}

Selected select_bound(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  if (insn.bits(0) == 16) return {&bound<u16>};
  return {&bound<u32>};
}

template <Handler handler>
Selected select_base(const Insn& insn, Op& op) {
  op.imm = insn.imm(0) & 0xff;
  return {handler};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_AAA, &always<&ascii_adjust<0x106>>},
    {ZYDIS_MNEMONIC_AAS, &always<&ascii_adjust<-0x106>>},
    {ZYDIS_MNEMONIC_AAM, &select_base<&aam>},
    {ZYDIS_MNEMONIC_AAD, &select_base<&aad>},
    {ZYDIS_MNEMONIC_DAA, &always<&decimal_adjust<false>>},
    {ZYDIS_MNEMONIC_DAS, &always<&decimal_adjust<true>>},
    {ZYDIS_MNEMONIC_SALC, &always<&salc>},
    {ZYDIS_MNEMONIC_BOUND, &select_bound},
};

}  // namespace

std::span<const Row> legacy_rows() { return rows; }

}  // namespace cloister::silicon
