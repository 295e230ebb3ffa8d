// VGATHERDPS to VPGATHERQQ (SDM vol. 2). Elements are loaded in order; one that is done has its mask cleared, so that a
// fault, or whatever interrupts the instruction, leaves it to be continued.
#include "silicon/isa/avx/avx_element_access.hpp"
#include "silicon/isa/avx/avx_rows.hpp"
#include "silicon/isa/vector_access.hpp"

namespace cloister::silicon {

bool element_address(Cpu& cpu, const Op* op, u64 distance, unsigned bytes, Access access, u64& linear) {
  if ((op->aux & any_address) == 0) {
    if (!operand_address<From::full>(cpu, op, bytes, access, linear)) return false;
    linear += distance;
    return true;
  }
  // With another address size or a segment's limit: an operation whose displacement is the element's address.
  Op element = *op;
  element.base = element.index = reg_zero;
  element.scale = op->scale & 0xf0;
  element.disp = static_cast<i32>(effective_address(cpu, op, Mem::any) + distance);
  if (linear_any(cpu, &element, bytes, access, linear)) return true;
  cpu.at = op;
  return false;
}

namespace {

// Op::src: the mask's register; Op::index: a vector register.

template <class T>
T part(const Ymm& v, unsigned i) {
  T x;
  std::memcpy(&x, reinterpret_cast<const u8*>(&v) + sizeof(T) * i, sizeof x);
  return x;
}
template <class T>
void put_part(Ymm& v, unsigned i, T x) {
  std::memcpy(reinterpret_cast<u8*>(&v) + sizeof(T) * i, &x, sizeof x);
}

template <class T, class Index, bool wide>
void gather(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    constexpr unsigned largest = sizeof(T) > sizeof(Index) ? sizeof(T) : sizeof(Index);
    constexpr unsigned count = (wide ? 32 : 16) / largest;
    const Ymm indices = get_ymm(cpu, op->index);
    Ymm mask = get_ymm(cpu, op->src), result = get_ymm(cpu, op->dst);
    Op without = *op;  // its index is no general register
    without.index = reg_zero;
    without.scale = op->scale & 0xf0;
    bool ok = true;
    for (unsigned i = 0; ok && i < count; ++i) {
      using Signed = std::make_signed_t<T>;
      if (part<Signed>(mask, i) < 0) {
        const u64 distance = static_cast<u64>(i64{part<Index>(indices, i)}) << (op->scale & 0xf);
        u64 linear = 0;
        T x;
        ok = element_address(cpu, &without, distance, sizeof(T), Access::read, linear) && load(cpu, op, linear, x);
        if (!ok) {
          cpu.at = op;
          break;
        }
        put_part<T>(result, i, x);
      }
      put_part<T>(mask, i, 0);
    }
    if (ok) {
      mask = {};
      constexpr unsigned bytes = count * sizeof(T);
      std::memset(reinterpret_cast<u8*>(&result) + bytes, 0, 32 - bytes);
    }
    set_ymm(cpu, op->dst, result);
    set_ymm(cpu, op->src, mask);
    if (!ok) return;
  }
  CLOISTER_NEXT(cpu, op);
}

template <class T, class Index>
Selected select_gather(const Insn& insn, Op& op) {
  if (!is_vex(insn) || !host_runs(insn)) return {};
  op.dst = insn.reg(0);
  op.src = insn.reg(2);
  if (op.dst == op.src || op.dst == op.index || op.src == op.index) return {op_undefined, true};
  note_address(insn, op);
  return {insn.info.raw.vex.L != 0 ? &gather<T, Index, true> : &gather<T, Index, false>};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_VGATHERDPS, select_gather<u32, i32>}, {ZYDIS_MNEMONIC_VGATHERQPS, select_gather<u32, i64>},
    {ZYDIS_MNEMONIC_VGATHERDPD, select_gather<u64, i32>}, {ZYDIS_MNEMONIC_VGATHERQPD, select_gather<u64, i64>},
    {ZYDIS_MNEMONIC_VPGATHERDD, select_gather<u32, i32>}, {ZYDIS_MNEMONIC_VPGATHERQD, select_gather<u32, i64>},
    {ZYDIS_MNEMONIC_VPGATHERDQ, select_gather<u64, i32>}, {ZYDIS_MNEMONIC_VPGATHERQQ, select_gather<u64, i64>},
};

}  // namespace

std::span<const Row> avx_gather_rows() { return rows; }

}  // namespace cloister::silicon
