// Shuffles, byte shifts and blends whose immediate says where each element comes from (SDM vol. 2, PSHUFD, SHUFPS,
// PALIGNR, PSLLDQ, BLENDPS, …).
//
// A shuffle by immediate is the host's PSHUFB with a control from a table; a byte shift is an unaligned load from a
// buffer with zeros around the operand.
#include <smmintrin.h>

#include <algorithm>

#include "silicon/isa/vector/mmx_op.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"

namespace cloister::silicon {
namespace {

/// PSHUFB controls for each immediate: four elements of `size` bytes from byte `first` on are chosen by two bits each,
/// the other bytes stay.
constexpr std::array<Xmm, 256> controls(unsigned size, unsigned first) {
  std::array<Xmm, 256> table{};
  for (unsigned imm = 0; imm < 256; ++imm) {
    for (unsigned byte = 0; byte < 16; ++byte) table[imm].byte[byte] = static_cast<u8>(byte);
    for (unsigned i = 0; i < 4; ++i) {
      for (unsigned byte = 0; byte < size; ++byte) {
        table[imm].byte[first + i * size + byte] = static_cast<u8>(first + ((imm >> (2 * i)) & 3) * size + byte);
      }
    }
  }
  return table;
}
constexpr auto doublewords = controls(4, 0), low_words = controls(2, 0), high_words = controls(2, 8);

template <const std::array<Xmm, 256>& table>
struct Shuffle : HotInteger {
  static __m128i apply(__m128i, __m128i b, u64 imm) { return _mm_shuffle_epi8(b, to_vector(table[imm])); }
};

struct ShuffleSingles : HotInteger {
  static __m128i apply(__m128i a, __m128i b, u64 imm) {
    return _mm_unpacklo_epi64(_mm_shuffle_epi8(a, to_vector(doublewords[imm])),
                              _mm_shuffle_epi8(b, to_vector(doublewords[imm >> 4])));
  }
};

struct ShuffleDoubles : PackedInteger {
  static __m128i apply(__m128i a, __m128i b, u64 imm) {
    const __m128i low = (imm & 1) != 0 ? _mm_unpackhi_epi64(a, a) : a;
    const __m128i high = (imm & 2) != 0 ? _mm_unpackhi_epi64(b, b) : b;
    return _mm_unpacklo_epi64(low, high);
  }
};

struct PSHUFW {
  using Raw64 = u64;
  static u64 apply64(u64, u64 b, u64 imm) {
    return from_vector<u64>(_mm_shuffle_epi8(to_vector(b), to_vector(low_words[imm])));
  }
};

// ---- byte shifts

struct AlignRight : PackedInteger {
  using Raw64 = u64;
  static __m128i apply(__m128i a, __m128i b, u64 imm) {
    std::array<u8, 48> bytes{};
    std::memcpy(bytes.data(), &b, 16);
    std::memcpy(bytes.data() + 16, &a, 16);
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes.data() + std::min<u64>(imm, 32)));
  }
  static u64 apply64(u64 a, u64 b, u64 imm) {
    const u128 shifted = imm < 16 ? ((u128{a} << 64) | b) >> (8 * imm) : 0;
    return static_cast<u64>(shifted);
  }
};

struct BytesLeft {
  static __m128i apply(__m128i a, u64 count) {
    std::array<u8, 32> bytes{};
    std::memcpy(bytes.data() + 16, &a, 16);
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes.data() + 16 - count));
  }
};
struct BytesRight {
  static __m128i apply(__m128i a, u64 count) {
    std::array<u8, 32> bytes{};
    std::memcpy(bytes.data(), &a, 16);
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes.data() + count));
  }
};

template <class F>
void shift_bytes(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  set_xmm(cpu, op->dst, F::apply(get_xmm(cpu, op->dst), op->imm));
  CLOISTER_NEXT(cpu, op);
}

template <class F>
Selected select_shift_bytes(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  op.dst = insn.reg(0);
  op.imm = std::min<u64>(insn.imm(1) & 0xff, 16);
  return with_form(insn, &shift_bytes<F>);
}

// ---- blends by immediate: bit n set takes element n of the source

template <unsigned size>
struct Blend : PackedInteger {
  static __m128i apply(__m128i a, __m128i b, u64 imm) {
    Xmm mask;
    for (unsigned byte = 0; byte < 16; ++byte) mask.byte[byte] = ((imm >> (byte / size)) & 1) != 0 ? 0xff : 0;
    return _mm_blendv_epi8(a, b, to_vector(mask));
  }
};

Selected select_pshufw(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  op.imm = insn.imm(2) & 0xff;
  if (insn.is_mem(1)) {
    note_address(insn, op);
    return {&mmx_op<PSHUFW, From::memory>};
  }
  op.src = insn.reg(1);
  return {&mmx_op<PSHUFW, From::reg>};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_PSHUFD, select_vector<Shuffle<doublewords>>},
    {ZYDIS_MNEMONIC_PSHUFLW, select_vector<Shuffle<low_words>>},
    {ZYDIS_MNEMONIC_PSHUFHW, select_vector<Shuffle<high_words>>},
    {ZYDIS_MNEMONIC_PSHUFW, select_pshufw},
    {ZYDIS_MNEMONIC_SHUFPS, select_vector<ShuffleSingles>},
    {ZYDIS_MNEMONIC_SHUFPD, select_vector<ShuffleDoubles>},
    {ZYDIS_MNEMONIC_PALIGNR, select_shared<AlignRight>},
    {ZYDIS_MNEMONIC_PSLLDQ, select_shift_bytes<BytesLeft>},
    {ZYDIS_MNEMONIC_PSRLDQ, select_shift_bytes<BytesRight>},
    {ZYDIS_MNEMONIC_BLENDPS, select_vector<Blend<4>>},
    {ZYDIS_MNEMONIC_BLENDPD, select_vector<Blend<8>>},
    {ZYDIS_MNEMONIC_PBLENDW, select_vector<Blend<2>>},
};

}  // namespace

std::span<const Row> sse_shuffle_rows() { return rows; }

}  // namespace cloister::silicon
