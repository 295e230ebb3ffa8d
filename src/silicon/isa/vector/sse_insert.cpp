// Single elements between vectors, general registers and memory, and byte masks (SDM vol. 2, PINSRB, PEXTRB, INSERTPS,
// EXTRACTPS, PMOVMSKB).
#include "silicon/isa/vector/mmx.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector/vector_op.hpp"

namespace cloister::silicon {
namespace {

template <class T>
constexpr u64 index_mask = 16 / sizeof(T) - 1;

template <class T, From from>
void insert(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    T v;
    if constexpr (from == From::reg) {
      v = static_cast<T>(cpu.gpr[op->src]);
    } else if (!read_operand<from>(cpu, op, v)) {
      return;
    }
    std::memcpy(cpu.fpu.xmm[op->dst].byte.data() + sizeof(T) * op->imm, &v, sizeof(T));
  }
  CLOISTER_NEXT(cpu, op);
}

template <class T>
T element(const Cpu& cpu, const Op* op) {
  T v;
  std::memcpy(&v, cpu.fpu.xmm[op->src].byte.data() + sizeof(T) * op->imm, sizeof(T));
  return v;
}

template <class T, From to>
void extract(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  if constexpr (to == From::reg) {
    cpu.gpr[op->dst] = element<T>(cpu, op);
  } else if (!write_operand<to>(cpu, op, element<T>(cpu, op))) {
    return;
  }
  CLOISTER_NEXT(cpu, op);
}

// ---- the word of an MMX register

template <From from>
void insert_mmx(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  {
    u16 v;
    if constexpr (from == From::reg) {
      v = static_cast<u16>(cpu.gpr[op->src]);
    } else if (!read_operand<from>(cpu, op, v)) {
      return;
    }
    const unsigned shift = 16 * (op->imm & 3);
    set_mm(cpu, op->dst, (get_mm(cpu, op->dst) & ~(u64{0xffff} << shift)) | (u64{v} << shift));
  }
  CLOISTER_NEXT(cpu, op);
}

void extract_mmx(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  mmx_enter(cpu);
  cpu.gpr[op->dst] = static_cast<u16>(get_mm(cpu, op->src) >> (16 * (op->imm & 3)));
  CLOISTER_NEXT(cpu, op);
}

template <class T>
Selected select_insert(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  const bool mmx = is_mmx(insn, 0);
  op.dst = insn.reg(0);
  op.imm = insn.imm(2) & index_mask<T>;
  if (insn.is_mem(1)) {
    note_address(insn, op);
    return with_form(insn, mmx ? &insert_mmx<From::memory> : &insert<T, From::memory>, sizeof(T));
  }
  op.src = insn.reg(1);
  return with_form(insn, mmx ? &insert_mmx<From::reg> : &insert<T, From::reg>);
}

template <class T>
Selected select_extract(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  op.src = insn.reg(1);
  op.imm = insn.imm(2) & index_mask<T>;
  if (insn.is_mem(0)) {
    note_address(insn, op);
    return with_form(insn, &extract<T, From::memory>, sizeof(T));
  }
  op.dst = insn.reg(0);
  return with_form(insn, is_mmx(insn, 1) ? &extract_mmx : &extract<T, From::reg>);
}

/// Bits 7:6 choose the source's element, unless it is in memory; 5:4 the place; 3:0 the elements that become zero.
template <bool memory>
struct InsertSingle : VectorTraits<4, Align::none, Lanes::integer> {
  static __m128i apply(__m128i a, __m128i b, u64 imm) {
    std::array<u32, 4> from, to;
    std::memcpy(from.data(), &b, 16);
    std::memcpy(to.data(), &a, 16);
    to[(imm >> 4) & 3] = from[memory ? 0 : imm >> 6];
    for (unsigned i = 0; i < 4; ++i) {
      if (((imm >> i) & 1) != 0) to[i] = 0;
    }
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(to.data()));
  }
};

Selected select_insertps(const Insn& insn, Op& op) {
  return insn.is_mem(1) ? select_vector<InsertSingle<true>>(insn, op) : select_vector<InsertSingle<false>>(insn, op);
}

void pmovmskb(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  cpu.gpr[op->dst] = static_cast<u32>(_mm_movemask_epi8(get_xmm(cpu, op->src)));
  CLOISTER_NEXT(cpu, op);
}

void pmovmskb_mmx(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  mmx_enter(cpu);
  cpu.gpr[op->dst] = static_cast<u32>(_mm_movemask_epi8(to_vector(get_mm(cpu, op->src))));
  CLOISTER_NEXT(cpu, op);
}

Selected select_pmovmskb(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  op.dst = insn.reg(0);
  op.src = insn.reg(1);
  return with_form(insn, is_mmx(insn, 1) ? &pmovmskb_mmx : &pmovmskb);
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_PINSRB, select_insert<u8>},      {ZYDIS_MNEMONIC_PINSRW, select_insert<u16>},
    {ZYDIS_MNEMONIC_PINSRD, select_insert<u32>},     {ZYDIS_MNEMONIC_PINSRQ, select_insert<u64>},
    {ZYDIS_MNEMONIC_PEXTRB, select_extract<u8>},     {ZYDIS_MNEMONIC_PEXTRW, select_extract<u16>},
    {ZYDIS_MNEMONIC_PEXTRD, select_extract<u32>},    {ZYDIS_MNEMONIC_PEXTRQ, select_extract<u64>},
    {ZYDIS_MNEMONIC_EXTRACTPS, select_extract<u32>}, {ZYDIS_MNEMONIC_INSERTPS, select_insertps},
    {ZYDIS_MNEMONIC_PMOVMSKB, select_pmovmskb},
};

}  // namespace

std::span<const Row> sse_insert_rows() { return rows; }

}  // namespace cloister::silicon
