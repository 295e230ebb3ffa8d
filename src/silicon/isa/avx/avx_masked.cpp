// VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ and VMASKMOVDQU (SDM vol. 2). An element whose mask has a clear sign
// is neither accessed nor checked; nothing is stored unless all that are chosen can be.
#include "silicon/isa/avx/avx_element_access.hpp"
#include "silicon/isa/avx/avx_rows.hpp"
#include "silicon/isa/vector_access.hpp"

namespace cloister::silicon {
namespace {

// Op::aux: the mask's register, in VEX.vvvv; Op::src: of a store, what is stored.
constexpr u8 mask_register = 0x0f;

template <class T>
bool chosen(const Ymm& mask, unsigned i) {
  return (reinterpret_cast<const u8*>(&mask)[sizeof(T) * i + sizeof(T) - 1] & 0x80) != 0;
}

template <class T, bool wide>
void masked_load(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    const Ymm mask = get_ymm(cpu, op->aux & mask_register);
    Ymm result{};
    for (unsigned i = 0; i < (wide ? 32 : 16) / sizeof(T); ++i) {
      if (!chosen<T>(mask, i)) continue;
      u64 linear = 0;
      T x;
      if (!element_address(cpu, op, sizeof(T) * i, sizeof(T), Access::read, linear) || !load(cpu, op, linear, x))
        return;
      std::memcpy(reinterpret_cast<u8*>(&result) + sizeof(T) * i, &x, sizeof x);
    }
    set_ymm(cpu, op->dst, result);
  }
  CLOISTER_NEXT(cpu, op);
}

template <class T, bool wide>
void masked_store(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    constexpr unsigned count = (wide ? 32 : 16) / sizeof(T);
    const Ymm mask = get_ymm(cpu, op->aux & mask_register), data = get_ymm(cpu, op->src);
    std::array<u64, count> linear{};
    for (unsigned i = 0; i < count; ++i) {
      T old;
      if (!chosen<T>(mask, i)) continue;
      if (!element_address(cpu, op, sizeof(T) * i, sizeof(T), Access::write, linear[i]) ||
          !load_for_store(cpu, op, linear[i], old)) {
        return;
      }
    }
    for (unsigned i = 0; i < count; ++i) {
      T x;
      std::memcpy(&x, reinterpret_cast<const u8*>(&data) + sizeof(T) * i, sizeof x);
      if (chosen<T>(mask, i) && !store(cpu, op, linear[i], x)) return;
    }
  }
  CLOISTER_NEXT(cpu, op);
}

template <class T>
Selected select_masked(const Insn& insn, Op& op) {
  if (!is_vex(insn) || !host_runs(insn)) return {};
  const bool wide = is_wide(insn), stores = insn.is_mem(0);
  op.aux = insn.reg(1);
  if (stores) {
    op.src = insn.reg(2);
  } else {
    op.dst = insn.reg(0);
  }
  note_address(insn, op);
  if (stores) return {wide ? &masked_store<T, true> : &masked_store<T, false>};
  return {wide ? &masked_load<T, true> : &masked_load<T, false>};
}

/// Bytes of op->dst to [rDI] by the signs in op->src.
void vmaskmovdqu(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    u64 linear = 0;
    if (!operand_address<From::memory>(cpu, op, 16, Access::write, linear)) return;
    const Xmm data = cpu.fpu.xmm[op->dst], mask = cpu.fpu.xmm[op->src];
    if (!store_masked(cpu, op, linear, data.byte.data(), mask.byte.data(), 16)) return;
  }
  CLOISTER_NEXT(cpu, op);
}

Selected select_vmaskmovdqu(const Insn& insn, Op& op) {
  if (!is_vex(insn) || !host_runs(insn)) return {};
  op.dst = insn.reg(0);
  op.src = insn.reg(1);
  note_rdi_address(insn, op);
  return {&vmaskmovdqu};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_VMASKMOVPS, select_masked<u32>},  {ZYDIS_MNEMONIC_VMASKMOVPD, select_masked<u64>},
    {ZYDIS_MNEMONIC_VPMASKMOVD, select_masked<u32>},  {ZYDIS_MNEMONIC_VPMASKMOVQ, select_masked<u64>},
    {ZYDIS_MNEMONIC_VMASKMOVDQU, select_vmaskmovdqu},
};

}  // namespace

std::span<const Row> avx_masked_rows() { return rows; }

}  // namespace cloister::silicon
