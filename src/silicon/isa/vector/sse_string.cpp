// PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM, and their VEX-encoded forms (SDM vol. 2B, 4.1: the control byte).
//
// All four are one comparison: the host's PCMPESTRM gives IntRes2 as a bit mask for six bits of control, with the
// lengths given; the index, the mask and the flags follow from IntRes2 and the lengths.
#include <algorithm>
#include <bit>

#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

struct Control {
  u8 imm;
  unsigned elements() const { return (imm & 1) != 0 ? 8 : 16; }  ///< words or bytes
  bool last_index() const { return (imm & 0x40) != 0; }          ///< the index forms: of the last one, not the first
  bool expand() const { return (imm & 0x40) != 0; }              ///< the mask forms: elements, not bits
};

template <unsigned n>
u32 compare_one(__m128i a, __m128i b, u32 length_a, u32 length_b) {
  __m128i mask;
  asm("pcmpestrm %5, %2, %1" : "=Yz"(mask) : "x"(a), "x"(b), "a"(length_a), "d"(length_b), "i"(n) : "cc");
  return static_cast<u32>(_mm_cvtsi128_si32(mask));
}

template <unsigned... n>
u32 compare(std::integer_sequence<unsigned, n...>, unsigned imm, __m128i a, __m128i b, u32 length_a, u32 length_b) {
  static constexpr u32 (*table[])(__m128i, __m128i, u32, u32) = {&compare_one<n>...};
  return table[imm](a, b, length_a, length_b);
}

/// Implicit length: elements before the first zero.
unsigned implicit_length(__m128i v, Control control) {
  const __m128i zero = _mm_setzero_si128();
  const __m128i is_zero = control.elements() == 8 ? _mm_cmpeq_epi16(v, zero) : _mm_cmpeq_epi8(v, zero);
  const u32 mask = static_cast<u32>(_mm_movemask_epi8(is_zero)) | 0x1'0000;
  return static_cast<unsigned>(std::countr_zero(mask)) / (16 / control.elements());
}

/// Explicit length: the absolute value of EAX or RAX, at most the number of elements.
unsigned explicit_length(u64 reg, bool wide, Control control) {
  const i64 value = wide ? static_cast<i64>(reg) : static_cast<i32>(reg);
  const u64 magnitude = value < 0 ? u64{0} - static_cast<u64>(value) : static_cast<u64>(value);
  return static_cast<unsigned>(std::min<u64>(magnitude, control.elements()));
}

struct Outcome {
  u32 bits;  ///< IntRes2
  u64 flags;
};

Outcome compare_strings(__m128i a, __m128i b, unsigned length_a, unsigned length_b, Control control) {
  namespace f = arch::rflags;
  const u32 bits = compare(std::make_integer_sequence<unsigned, 64>(), control.imm & 63, a, b, length_a, length_b);
  const u64 flags = (bits != 0 ? f::cf : 0) | ((bits & 1) != 0 ? f::of : 0) |
                    (length_b < control.elements() ? f::zf : 0) | (length_a < control.elements() ? f::sf : 0);
  return {bits, flags};
}

u32 index_of(u32 bits, Control control) {
  if (bits == 0) return control.elements();
  return static_cast<u32>(control.last_index() ? 31 - std::countl_zero(bits) : std::countr_zero(bits));
}

__m128i mask_of(u32 bits, Control control) {
  if (!control.expand()) return _mm_cvtsi32_si128(static_cast<int>(bits));
  const unsigned size = 16 / control.elements();
  Xmm mask;
  for (unsigned byte = 0; byte < 16; ++byte) mask.byte[byte] = ((bits >> (byte / size)) & 1) != 0 ? 0xff : 0;
  return to_vector(mask);
}

/// Op::aux: the lengths are 64-bit registers.
constexpr u8 wide_lengths = 1;

template <bool is_explicit, bool index, From from, bool vex>
void compare_op(Cpu& cpu, const Op* op) {
  if constexpr (vex) {
    if (cpu.fpu.avx_blocked) [[unlikely]]
      return avx_unavailable(cpu, op);
  } else if (cpu.fpu.sse_blocked) [[unlikely]] {
    return sse_unavailable(cpu, op);
  }
  {
    __m128i b;
    if (!vector_source<from, 16, Align::none>(cpu, op, b)) return;
    const __m128i a = get_xmm(cpu, op->dst);
    const Control control{static_cast<u8>(op->imm)};
    const bool wide = (op->aux & wide_lengths) != 0;
    const unsigned length_a =
        is_explicit ? explicit_length(cpu.gpr[arch::rax], wide, control) : implicit_length(a, control);
    const unsigned length_b =
        is_explicit ? explicit_length(cpu.gpr[arch::rdx], wide, control) : implicit_length(b, control);
    const Outcome r = compare_strings(a, b, length_a, length_b, control);
    if constexpr (index) {
      cpu.gpr[arch::rcx] = index_of(r.bits, control);
    } else {
      set_xmm(cpu, 0, mask_of(r.bits, control));
      if constexpr (vex) cpu.fpu.upper[0] = {};
    }
    cpu.flags.set(r.flags);
  }
  CLOISTER_NEXT(cpu, op);
}

template <bool is_explicit, bool index, bool vex = false>
Selected select_compare(const Insn& insn, Op& op) {
  if (is_legacy(insn) == vex) return {};
  op.dst = insn.reg(0);
  op.imm = insn.imm(2) & 0xff;
  const bool wide = vex ? insn.bits64() && insn.info.raw.vex.W != 0
                        : (insn.info.attributes & ZYDIS_ATTRIB_HAS_REX) != 0 && insn.info.raw.rex.W != 0;
  op.aux = wide ? wide_lengths : 0;
  if (insn.is_mem(1)) {
    note_address(insn, op);
    return {&compare_op<is_explicit, index, From::memory, vex>};
  }
  op.src = insn.reg(1);
  return {&compare_op<is_explicit, index, From::reg, vex>};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_PCMPESTRI, select_compare<true, true>},
    {ZYDIS_MNEMONIC_PCMPESTRM, select_compare<true, false>},
    {ZYDIS_MNEMONIC_PCMPISTRI, select_compare<false, true>},
    {ZYDIS_MNEMONIC_PCMPISTRM, select_compare<false, false>},
};

constexpr Row vex_rows[] = {
    {ZYDIS_MNEMONIC_VPCMPESTRI, select_compare<true, true, true>},
    {ZYDIS_MNEMONIC_VPCMPESTRM, select_compare<true, false, true>},
    {ZYDIS_MNEMONIC_VPCMPISTRI, select_compare<false, true, true>},
    {ZYDIS_MNEMONIC_VPCMPISTRM, select_compare<false, false, true>},
};

}  // namespace

std::span<const Row> sse_string_rows() { return rows; }
std::span<const Row> vex_string_rows() { return vex_rows; }

}  // namespace cloister::silicon
