// Operands of SSE and MMX instructions: registers, and memory of 4, 8 or 16 bytes with the alignment rule of 16-byte
// operands (SDM vol. 1, 11.3; #GP(0), before the access).
#pragma once

#include <emmintrin.h>

#include <type_traits>

#include "silicon/isa/insn.hpp"
#include "silicon/mmu/access.hpp"
#include "silicon/state/dispatch.hpp"
#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

/// Where an operand is. The hot instructions have a handler for each of flat, full and any; the others one for
/// `memory`, which treats flat as full and finds out at run time whether it is any.
enum class From : u8 { reg, flat, full, any, memory };

/// In Op::aux of a `memory` handler: the address is Mem::any.
inline constexpr u8 any_address = 0x80;

/// The alignment that an operand must have.
enum class Align : u8 { none, vector };

template <unsigned bytes>
using Raw = std::conditional_t<
    bytes == 16, Xmm,
    std::conditional_t<bytes == 8, u64, std::conditional_t<bytes == 4, u32, std::conditional_t<bytes == 2, u16, u8>>>>;

[[gnu::always_inline]] inline __m128i get_xmm(const Cpu& cpu, u8 r) {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(cpu.fpu.xmm[r].byte.data()));
}
[[gnu::always_inline]] inline void set_xmm(Cpu& cpu, u8 r, __m128i value) {
  _mm_store_si128(reinterpret_cast<__m128i*>(cpu.fpu.xmm[r].byte.data()), value);
}

[[gnu::always_inline]] inline __m128i to_vector(const Xmm& raw) {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(raw.byte.data()));
}
template <class T>
[[gnu::always_inline]] inline __m128i to_vector(T raw) {
  return _mm_cvtsi64_si128(static_cast<long long>(raw));
}
template <class T>
[[gnu::always_inline]] inline T from_vector(__m128i v) {
  T raw;
  std::memcpy(static_cast<void*>(&raw), &v, sizeof raw);
  return raw;
}

template <From from>
[[gnu::always_inline]] inline bool operand_address(Cpu& cpu, const Op* op, unsigned bytes, Access access, u64& linear) {
  static_assert(from != From::reg);
  if constexpr (from == From::flat) {
    return linear_of<Mem::flat>(cpu, op, bytes, access, linear);
  } else if constexpr (from == From::full) {
    return linear_of<Mem::full>(cpu, op, bytes, access, linear);
  } else if constexpr (from == From::any) {
    return linear_of<Mem::any>(cpu, op, bytes, access, linear);
  } else {
    if ((op->aux & any_address) != 0) [[unlikely]] {
      return linear_of<Mem::any>(cpu, op, bytes, access, linear);
    }
    return linear_of<Mem::full>(cpu, op, bytes, access, linear);
  }
}

/// Reads a memory operand of any type.
template <From from, Align align = Align::none, class T>
[[gnu::always_inline]] inline bool read_operand(Cpu& cpu, const Op* op, T& out) {
  u64 linear = 0;
  if (!operand_address<from>(cpu, op, sizeof(T), Access::read, linear)) return false;
  if (align == Align::vector && linear % 16 != 0) [[unlikely]] {
    raise_gp(cpu, op);
    return false;
  }
  return load(cpu, op, linear, out);
}

template <From from, Align align = Align::none, class T>
[[gnu::always_inline]] inline bool write_operand(Cpu& cpu, const Op* op, const T& value) {
  u64 linear = 0;
  if (!operand_address<from>(cpu, op, sizeof(T), Access::write, linear)) return false;
  if (align == Align::vector && linear % 16 != 0) [[unlikely]] {
    raise_gp(cpu, op);
    return false;
  }
  return store(cpu, op, linear, value);
}

/// The source of a vector operation: register op->src, or memory, zero-extended to 16 bytes.
template <From from, unsigned bytes, Align align>
[[gnu::always_inline]] inline bool vector_source(Cpu& cpu, const Op* op, __m128i& out) {
  if constexpr (from == From::reg) {
    out = get_xmm(cpu, op->src);
    return true;
  } else {
    Raw<bytes> raw;
    if (!read_operand<from, align>(cpu, op, raw)) return false;
    out = to_vector(raw);
    return true;
  }
}

/// MASKMOVQ and MASKMOVDQU: stores the bytes whose mask byte is negative. The whole operand is checked, whatever
/// the mask; an empty mask stores nothing.
bool store_masked(Cpu& cpu, const Op* op, u64 linear, const u8* data, const u8* mask, unsigned bytes);

/// Fills in the implicit memory operand [rDI] of a `memory` handler.
void note_rdi_address(const Insn& insn, Op& op);

/// No VEX or EVEX form: those are other instructions' (isa/avx/).
inline bool is_legacy(const Insn& insn) { return insn.info.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY; }
inline bool is_xmm(const Insn& insn, unsigned i) { return insn.is_reg(i) && insn.reg_class(i) == ZYDIS_REGCLASS_XMM; }
inline bool is_mmx(const Insn& insn, unsigned i) { return insn.is_reg(i) && insn.reg_class(i) == ZYDIS_REGCLASS_MMX; }
inline bool is_gpr(const Insn& insn, unsigned i) {
  return insn.is_reg(i) && (insn.reg_class(i) == ZYDIS_REGCLASS_GPR32 || insn.reg_class(i) == ZYDIS_REGCLASS_GPR64 ||
                            insn.reg_class(i) == ZYDIS_REGCLASS_GPR16);
}

/// The form of an instruction of vector registers alone, or with general ones or memory, whose Op has its first two
/// operands as they are encoded. `memory_bytes`: of the operand in memory, if it is not as the decoder has it.
Form vector_form(const Insn& insn, unsigned memory_bytes = 0);
inline Selected with_form(const Insn& insn, Handler handler, unsigned memory_bytes = 0) {
  return {.handler = handler, .form = vector_form(insn, memory_bytes)};
}

/// The handler of a hot instruction for the address kind: `choose` is a lambda templated on From.
template <class Choose>
Handler by_address(const Insn& insn, Choose choose) {
  switch (insn.memory) {
    case Mem::flat: return choose.template operator()<From::flat>();
    case Mem::full: return choose.template operator()<From::full>();
    default: return choose.template operator()<From::any>();
  }
}

/// Tells a `memory` handler its address kind.
inline void note_address(const Insn& insn, Op& op) {
  if (insn.has_memory && insn.memory == Mem::any) op.aux |= any_address;
}

}  // namespace cloister::silicon
