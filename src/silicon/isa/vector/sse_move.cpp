// SSE data movement: between XMM registers, memory and general registers (SDM vol. 1, 10.4.1.1, 11.4.1.1 and 11.4.2;
// vol. 2, MOV…). MOVD and MOVQ of MMX registers share their mnemonics and are here too.
#include "silicon/isa/vector/mmx.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector/sse_rows.hpp"
#include "silicon/isa/vector_access.hpp"

namespace cloister::silicon {
namespace {

// ---- whole registers, and low parts that clear the rest

template <unsigned bytes, Align align, From from>
void load_low(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    __m128i v;
    if (!vector_source<from, bytes, align>(cpu, op, v)) return;
    set_xmm(cpu, op->dst, v);
  }
  CLOISTER_NEXT(cpu, op);
}

template <unsigned bytes, Align align, From from>
void store_low(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  if (!write_operand<from, align>(cpu, op, from_vector<Raw<bytes>>(get_xmm(cpu, op->src)))) return;
  CLOISTER_NEXT(cpu, op);
}

void copy_low8(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  set_xmm(cpu, op->dst, _mm_move_epi64(get_xmm(cpu, op->src)));
  CLOISTER_NEXT(cpu, op);
}

/// Register to register: replaces `bytes` at `to` by those at `from_byte`, and keeps the rest.
template <unsigned bytes, unsigned to, unsigned from_byte>
void merge(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  std::memmove(cpu.fpu.xmm[op->dst].byte.data() + to, cpu.fpu.xmm[op->src].byte.data() + from_byte, bytes);
  CLOISTER_NEXT(cpu, op);
}

template <unsigned bytes, Align align>
Handler load_handler(const Insn& insn) {
  return by_address(insn, []<From from>() -> Handler { return &load_low<bytes, align, from>; });
}
template <unsigned bytes, Align align>
Handler store_handler(const Insn& insn) {
  return by_address(insn, []<From from>() -> Handler { return &store_low<bytes, align, from>; });
}

template <Align align>
Selected select_whole(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || insn.visible() != 2) return {};
  if (insn.is_mem(0)) {
    op.src = insn.reg(1);
    return with_form(insn, store_handler<16, align>(insn), 16);
  }
  op.dst = insn.reg(0);
  if (insn.is_mem(1)) return with_form(insn, load_handler<16, align>(insn), 16);
  op.src = insn.reg(1);
  return with_form(insn, &load_low<16, align, From::reg>);
}

/// MOVSS and MOVSD: a load clears the upper part, a move between registers keeps it.
template <unsigned bytes>
Selected select_scalar(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || insn.visible() != 2) return {};  // no visible operand: the string instruction MOVSD
  if (insn.is_mem(0)) {
    op.src = insn.reg(1);
    return with_form(insn, store_handler<bytes, Align::none>(insn), bytes);
  }
  op.dst = insn.reg(0);
  if (insn.is_mem(1)) return with_form(insn, load_handler<bytes, Align::none>(insn), bytes);
  op.src = insn.reg(1);
  return with_form(insn, &merge<bytes, 0, 0>);
}

// ---- halves

template <unsigned half, From from>
void load_half(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    u64 v;
    if (!read_operand<from>(cpu, op, v)) return;
    std::memcpy(cpu.fpu.xmm[op->dst].byte.data() + 8 * half, &v, 8);
  }
  CLOISTER_NEXT(cpu, op);
}

template <unsigned half, From from>
void store_half(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    u64 v;
    std::memcpy(&v, cpu.fpu.xmm[op->src].byte.data() + 8 * half, 8);
    if (!write_operand<from>(cpu, op, v)) return;
  }
  CLOISTER_NEXT(cpu, op);
}

template <unsigned half>
Selected select_half(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || insn.visible() != 2) return {};
  note_address(insn, op);
  if (insn.is_mem(0)) {
    op.src = insn.reg(1);
    return with_form(insn, &store_half<half, From::memory>, 8);
  }
  op.dst = insn.reg(0);
  if (!insn.is_mem(1)) return {};
  return with_form(insn, &load_half<half, From::memory>, 8);
}

template <Handler handler>
Selected select_registers(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || insn.visible() < 2 || !insn.is_reg(0) || !is_xmm(insn, 1)) return {};
  op.dst = insn.reg(0);
  op.src = insn.reg(1);
  return with_form(insn, handler);
}

// ---- general registers

template <class T>
void from_gpr(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  set_xmm(cpu, op->dst, to_vector(cpu.reg<T>(op->src)));
  CLOISTER_NEXT(cpu, op);
}

template <class T>
void to_gpr(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  cpu.set_reg<T>(op->dst, from_vector<T>(get_xmm(cpu, op->src)));
  CLOISTER_NEXT(cpu, op);
}

#define CLOISTER_MASK_MOVE(name, text)                             \
  void name(Cpu& cpu, const Op* op) {                              \
    if (cpu.fpu.sse_blocked) [[unlikely]]                          \
      return sse_unavailable(cpu, op);                             \
    u32 mask;                                                      \
    asm(text " %1, %0" : "=r"(mask) : "x"(get_xmm(cpu, op->src))); \
    cpu.set_reg<u32>(op->dst, mask);                               \
    CLOISTER_NEXT(cpu, op);                                        \
  }
CLOISTER_MASK_MOVE(movmskps, "movmskps")
CLOISTER_MASK_MOVE(movmskpd, "movmskpd")

// ---- MMX registers

template <class T>
void mm_from_gpr(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  set_mm(cpu, op->dst, cpu.reg<T>(op->src));
  CLOISTER_NEXT(cpu, op);
}

template <class T>
void mm_to_gpr(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  mmx_enter(cpu);
  cpu.set_reg<T>(op->dst, static_cast<T>(get_mm(cpu, op->src)));
  CLOISTER_NEXT(cpu, op);
}

template <class T>
void mm_load(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  {
    T v;
    if (!read_operand<From::memory>(cpu, op, v)) return;
    set_mm(cpu, op->dst, v);
  }
  CLOISTER_NEXT(cpu, op);
}

template <class T>
void mm_store(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  if (!write_operand<From::memory>(cpu, op, static_cast<T>(get_mm(cpu, op->src)))) return;
  mmx_enter(cpu);
  CLOISTER_NEXT(cpu, op);
}

void mm_copy(Cpu& cpu, const Op* op) {
  if (!mmx_ready(cpu, op)) return;
  set_mm(cpu, op->dst, get_mm(cpu, op->src));
  CLOISTER_NEXT(cpu, op);
}

template <class T>
Selected select_mm(const Insn& insn, Op& op) {
  note_address(insn, op);
  if (is_mmx(insn, 0)) {
    op.dst = insn.reg(0);
    if (insn.is_mem(1)) return {&mm_load<T>};
    op.src = insn.reg(1);
    return {is_mmx(insn, 1) ? &mm_copy : &mm_from_gpr<T>};
  }
  op.src = insn.reg(1);
  if (insn.is_mem(0)) return {&mm_store<T>};
  op.dst = insn.reg(0);
  return {&mm_to_gpr<T>};
}

/// MOVD (T = u32) and MOVQ (T = u64): all their forms.
template <class T>
Selected select_movd(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || insn.visible() != 2) return {};
  if (is_mmx(insn, 0) || is_mmx(insn, 1)) return select_mm<T>(insn, op);
  if (insn.is_mem(0)) {
    op.src = insn.reg(1);
    return with_form(insn, store_handler<sizeof(T), Align::none>(insn), sizeof(T));
  }
  op.dst = insn.reg(0);
  if (insn.is_mem(1)) return with_form(insn, load_handler<sizeof(T), Align::none>(insn), sizeof(T));
  op.src = insn.reg(1);
  if (is_gpr(insn, 1)) return with_form(insn, &from_gpr<T>);
  if (is_gpr(insn, 0)) return with_form(insn, &to_gpr<T>);
  return with_form(insn, &copy_low8);
}

/// MOVNTI is an integer store: no SSE state is involved.
template <class T>
void movnti(Cpu& cpu, const Op* op) {
  if (!write_operand<From::memory>(cpu, op, cpu.reg<T>(op->src))) return;
  CLOISTER_NEXT(cpu, op);
}

Selected select_movnti(const Insn& insn, Op& op) {
  note_address(insn, op);
  op.src = insn.reg(1);
  return {insn.bits(1) == 64 ? &movnti<u64> : &movnti<u32>};
}

// ---- MASKMOVDQU: the bytes whose mask byte is negative go to [rDI].

void maskmovdqu(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    u64 linear = 0;
    if (!operand_address<From::memory>(cpu, op, 16, Access::write, linear)) return;
    const Xmm data = cpu.fpu.xmm[op->dst], mask = cpu.fpu.xmm[op->src];
    if (!store_masked(cpu, op, linear, data.byte.data(), mask.byte.data(), 16)) return;
  }
  CLOISTER_NEXT(cpu, op);
}

Selected select_maskmovdqu(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || !is_xmm(insn, 0)) return {};
  op.dst = insn.reg(0);
  op.src = insn.reg(1);
  note_rdi_address(insn, op);
  return {&maskmovdqu};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_MOVAPS, select_whole<Align::vector>},
    {ZYDIS_MNEMONIC_MOVAPD, select_whole<Align::vector>},
    {ZYDIS_MNEMONIC_MOVDQA, select_whole<Align::vector>},
    {ZYDIS_MNEMONIC_MOVNTPS, select_whole<Align::vector>},
    {ZYDIS_MNEMONIC_MOVNTPD, select_whole<Align::vector>},
    {ZYDIS_MNEMONIC_MOVNTDQ, select_whole<Align::vector>},
    {ZYDIS_MNEMONIC_MOVNTDQA, select_whole<Align::vector>},
    {ZYDIS_MNEMONIC_MOVUPS, select_whole<Align::none>},
    {ZYDIS_MNEMONIC_MOVUPD, select_whole<Align::none>},
    {ZYDIS_MNEMONIC_MOVDQU, select_whole<Align::none>},
    {ZYDIS_MNEMONIC_LDDQU, select_whole<Align::none>},
    {ZYDIS_MNEMONIC_MOVSS, select_scalar<4>},
    {ZYDIS_MNEMONIC_MOVSD, select_scalar<8>},
    {ZYDIS_MNEMONIC_MOVLPS, select_half<0>},
    {ZYDIS_MNEMONIC_MOVLPD, select_half<0>},
    {ZYDIS_MNEMONIC_MOVHPS, select_half<1>},
    {ZYDIS_MNEMONIC_MOVHPD, select_half<1>},
    {ZYDIS_MNEMONIC_MOVHLPS, select_registers<&merge<8, 0, 8>>},
    {ZYDIS_MNEMONIC_MOVLHPS, select_registers<&merge<8, 8, 0>>},
    {ZYDIS_MNEMONIC_MOVMSKPS, select_registers<&movmskps>},
    {ZYDIS_MNEMONIC_MOVMSKPD, select_registers<&movmskpd>},
    {ZYDIS_MNEMONIC_MOVD, select_movd<u32>},
    {ZYDIS_MNEMONIC_MOVQ, select_movd<u64>},
    {ZYDIS_MNEMONIC_MOVNTI, select_movnti},
    {ZYDIS_MNEMONIC_MASKMOVDQU, select_maskmovdqu},
};

}  // namespace

std::span<const Row> sse_move_rows() { return rows; }

}  // namespace cloister::silicon
