// BT BTS BTR BTC (SDM vol. 1, 7.3.7.1; vol. 2). With a register as bit offset a memory operand is a bit string that
// reaches to both sides of its address (vol. 1, 4.2.1 and figure 3-2 of vol. 2).
#include "silicon/isa/integer/bit.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"
#include "silicon/isa/stack.hpp"

namespace cloister::silicon {
namespace {

/// O::value(a, mask) is the new operand. CF becomes the bit; ZF stays, the other flags are undefined.
struct Bt {
  static constexpr bool writes = false;
  template <class T>
  static T value(T a, T) {
    return a;
  }
};
struct Bts {
  static constexpr bool writes = true;
  template <class T>
  static T value(T a, T mask) {
    return a | mask;
  }
};
struct Btr {
  static constexpr bool writes = true;
  template <class T>
  static T value(T a, T mask) {
    return static_cast<T>(a & ~mask);
  }
};
struct Btc {
  static constexpr bool writes = true;
  template <class T>
  static T value(T a, T mask) {
    return a ^ mask;
  }
};

template <class T>
constexpr T mask_of(T offset) {
  return static_cast<T>(T{1} << (offset % (8 * sizeof(T))));
}

template <class O, class T, From from>
void bit_register(Cpu& cpu, const Op* op) {
  const T a = cpu.reg<T>(op->dst), mask = mask_of<T>(second<from, T>(cpu, op));
  cpu.flags.set_carry((a & mask) != 0);
  if constexpr (O::writes) cpu.set_reg<T>(op->dst, O::template value<T>(a, mask));
  CLOISTER_NEXT(cpu, op);
}

/// The address `delta` bytes from op's operand, cut to the address size, where it is not the plain sum.
[[gnu::noinline]] Maybe address_beyond(Cpu& cpu, const Op* op, unsigned bytes, Access access, i64 delta) {
  u64 offset = effective_address(cpu, op, Mem::any) + static_cast<u64>(delta);
  const unsigned address_size = op->scale >> 4;
  if (address_size == 2) offset = static_cast<u16>(offset);
  if (address_size == 4) offset = static_cast<u32>(offset);
  if (cpu.code64) return {offset + cpu.seg_base[op->seg], true};
  return linear_in_segment(cpu, op, op->seg, static_cast<u32>(offset), bytes, access);
}

template <class T, Mem kind, From from>
[[gnu::always_inline]] inline bool bit_address(Cpu& cpu, const Op* op, Access access, T offset, u64& linear) {
  if constexpr (from != From::reg) {
    return address<kind>(cpu, op, sizeof(T), access, linear);
  } else {
    constexpr i64 bits = 8 * sizeof(T);
    const i64 delta = (static_cast<i64>(static_cast<std::make_signed_t<T>>(offset)) & -bits) / 8;
    if constexpr (kind == Mem::any) {
      const Maybe m = address_beyond(cpu, op, sizeof(T), access, delta);
      linear = m.value;
      return m.ok;
    } else {
      if (!address<kind>(cpu, op, sizeof(T), access, linear)) return false;
      linear += static_cast<u64>(delta);
      return true;
    }
  }
}

template <class O, class T, Mem kind, From from>
struct BitMemory {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    const T offset = second<from, T>(cpu, op), mask = mask_of<T>(offset);
    u64 linear;
    if (!bit_address<T, kind, from>(cpu, op, O::writes ? Access::write : Access::read, offset, linear)) return;
    T a;
    if constexpr (O::writes) {
      if (!Path::template load_for_store<T>(cpu, op, linear, a)) return Path::template failed<BitMemory>(cpu, op);
      if (!Path::template store<T>(cpu, op, linear, O::template value<T>(a, mask))) {
        return Path::template failed<BitMemory>(cpu, op);
      }
    } else {
      if (!Path::template load<T>(cpu, op, linear, a)) return Path::template failed<BitMemory>(cpu, op);
    }
    cpu.flags.set_carry((a & mask) != 0);
    CLOISTER_NEXT(cpu, op);
  }
};

template <class O, class T>
[[gnu::noinline]] Maybe bit_locked_at(Cpu& cpu, const Op* op, u64 linear, T mask) {
  T a{};
  const bool ok = atomic_update<T>(cpu, op, linear, a, [mask](T old) { return O::template value<T>(old, mask); });
  return {a, ok};
}
template <class O, class T, Mem kind, From from>
void bit_locked(Cpu& cpu, const Op* op) {
  const T offset = second<from, T>(cpu, op), mask = mask_of<T>(offset);
  u64 linear;
  if (!bit_address<T, kind, from>(cpu, op, Access::write, offset, linear)) return;
  const Maybe a = bit_locked_at<O, T>(cpu, op, linear, mask);
  if (!a.ok) return;
  cpu.flags.set_carry((a.value & mask) != 0);
  CLOISTER_NEXT(cpu, op);
}

template <class O, From from>
Handler select_from(const Insn& insn, Op& op) {
  return by_wide_size(insn.bits(0), [&](auto size) -> Handler {
    using T = decltype(size);
    if (!insn.is_mem(0)) {
      op.dst = insn.reg(0);
      return &bit_register<O, T, from>;
    }
    return by_memory_rare(insn.memory, [&](auto m) -> Handler {
      if constexpr (O::writes) {
        if (insn.lock()) return &bit_locked<O, T, m.kind, from>;
      }
      return hot_unless_any<BitMemory<O, T, m.kind, from>, m.kind>();
    });
  });
}

template <class O>
Selected select_bit(const Insn& insn, Op& op) {
  // With an offset in a register, the memory operand is not where its address says.
  const bool is_string = insn.is_mem(0) && insn.is_reg(1);
  const Form form = is_string ? Form{} : form_as_encoded(insn, O::writes);
  if (insn.is_reg(1)) {
    op.src = insn.reg(1);
    return {select_from<O, From::reg>(insn, op), false, form};
  }
  op.imm = insn.imm(1);
  return {select_from<O, From::imm>(insn, op), false, form};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_BT, &select_bit<Bt>},
    {ZYDIS_MNEMONIC_BTS, &select_bit<Bts>},
    {ZYDIS_MNEMONIC_BTR, &select_bit<Btr>},
    {ZYDIS_MNEMONIC_BTC, &select_bit<Btc>},
};

}  // namespace

std::span<const Row> bit_test_rows() { return rows; }

}  // namespace cloister::silicon
