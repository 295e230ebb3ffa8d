// Data transfer: MOV MOVZX MOVSX MOVSXD MOVBE MOVDIRI BSWAP XCHG LEA, PAUSE (a form of XCHG's opcode), and CBW CWDE
// CDQE CWD CDQ CQO (SDM vol. 1, 7.3.1).
#include <bit>

#include "silicon/isa/integer/integer.hpp"
#include "silicon/isa/shapes.hpp"
#include "silicon/isa/system/rows.hpp"

namespace cloister::silicon {
namespace {

struct NoFlags {
  template <class T>
  static void flags(LazyFlags&, T, T, T) {}
};

struct Mov : NoFlags {
  static constexpr bool reads = false, writes = true;
  template <class T>
  static T value(const LazyFlags&, T, T b) {
    return b;
  }
};

template <class T>
T swap_bytes(T v) {
  if constexpr (sizeof(T) == 2) {
    return __builtin_bswap16(v);
  } else if constexpr (sizeof(T) == 4) {
    return __builtin_bswap32(v);
  } else if constexpr (sizeof(T) == 8) {
    return __builtin_bswap64(v);
  } else {
    return v;
  }
}

struct Movbe : NoFlags {
  static constexpr bool reads = false, writes = true;
  template <class T>
  static T value(const LazyFlags&, T, T b) {
    return swap_bytes(b);
  }
};

/// MOV between the accumulator and a 64-bit absolute address, which `imm` holds.
template <class T, bool store>
struct MovAbsolute {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    const u64 linear = cpu.seg_base[op->seg] + op->imm;
    if constexpr (store) {
      if (!Path::template store<T>(cpu, op, linear, cpu.reg<T>(arch::rax))) return;
    } else {
      T v;
      if (!Path::template load<T>(cpu, op, linear, v)) return;
      cpu.set_reg<T>(arch::rax, v);
    }
    CLOISTER_NEXT(cpu, op);
  }
};

bool is_general(ZydisRegisterClass c) {
  return c == ZYDIS_REGCLASS_GPR8 || c == ZYDIS_REGCLASS_GPR16 || c == ZYDIS_REGCLASS_GPR32 ||
         c == ZYDIS_REGCLASS_GPR64;
}

Selected select_mov(const Insn& insn, Op& op) {
  for (unsigned i = 0; i < 2; ++i) {
    if (insn.is_reg(i) && !is_general(insn.reg_class(i))) return select_mov_special(insn, op);
    if (insn.is_mem(i) && insn.operand[i].encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64 && insn.bits64()) {
      op.imm = static_cast<u64>(insn.operand[i].mem.disp.value);
      if (insn.info.address_width == 32) op.imm = static_cast<u32>(op.imm);
      return {by_size(insn.bits(0), [&](auto size) -> Handler {
        using T = decltype(size);
        return i == 0 ? cold<MovAbsolute<T, true>> : cold<MovAbsolute<T, false>>;
      })};
    }
  }
  return select_binary<Mov>(insn, op);
}

/// reg = sign or zero extension of a smaller operand.
template <class To, class From_>
void extend_register(Cpu& cpu, const Op* op) {
  const auto v = static_cast<From_>(cpu.reg<std::make_unsigned_t<From_>>(op->src));
  cpu.set_reg<To>(op->dst, static_cast<To>(v));
  CLOISTER_NEXT(cpu, op);
}
template <class To, class From_, Mem kind>
struct ExtendMemory {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    using U = std::make_unsigned_t<From_>;
    u64 linear;
    if (!address<kind>(cpu, op, sizeof(U), Access::read, linear)) return;
    U v;
    if (!Path::template load<U>(cpu, op, linear, v)) return Path::template failed<ExtendMemory>(cpu, op);
    cpu.set_reg<To>(op->dst, static_cast<To>(static_cast<From_>(v)));
    CLOISTER_NEXT(cpu, op);
  }
};

template <class From_>
Handler extend(const Insn& insn) {
  return by_wide_size(insn.bits(0), [&](auto size) -> Handler {
    using T = decltype(size);
    if (!insn.is_mem(1)) return &extend_register<T, From_>;
    return by_memory(insn.memory,
                     [](auto m) -> Handler { return hot_unless_any<ExtendMemory<T, From_, m.kind>, m.kind>(); });
  });
}

template <bool is_signed>
Selected select_extend(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  if (insn.is_reg(1)) op.src = insn.reg(1);
  // MOVSXD to 16 bits reads as many, whatever its table calls the source (SDM vol. 2B, MOVSXD).
  const bool narrow = insn.info.mnemonic == ZYDIS_MNEMONIC_MOVSXD && insn.bits(0) == 16;
  const unsigned source = narrow ? 16 : insn.bits(1);
  Form form = form_as_encoded(insn, true);
  form.source_bytes = static_cast<u8>(source / 8);
  switch (source) {
    case 8: return {extend<std::conditional_t<is_signed, i8, u8>>(insn), false, form};
    case 16: return {extend<std::conditional_t<is_signed, i16, u16>>(insn), false, form};
    case 32: return {extend<std::conditional_t<is_signed, i32, u32>>(insn), false, form};
    default: return {};
  }
}

template <class T>
void bswap(Cpu& cpu, const Op* op) {
  cpu.set_reg<T>(op->dst, swap_bytes(cpu.reg<T>(op->dst)));
  CLOISTER_NEXT(cpu, op);
}
/// BSWAP r16 is undefined; processors clear the register.
template <>
void bswap<u16>(Cpu& cpu, const Op* op) {
  cpu.set_reg<u16>(op->dst, 0);
  CLOISTER_NEXT(cpu, op);
}

Selected select_bswap(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  return {by_wide_size(insn.bits(0), [](auto size) -> Handler { return &bswap<decltype(size)>; }), false,
          form_as_encoded(insn, true)};
}

template <class T>
void exchange_registers(Cpu& cpu, const Op* op) {
  const T a = cpu.reg<T>(op->dst), b = cpu.reg<T>(op->src);
  cpu.set_reg<T>(op->dst, b);
  cpu.set_reg<T>(op->src, a);
  CLOISTER_NEXT(cpu, op);
}
/// XCHG with memory locks with or without the prefix (SDM vol. 3A, 9.1.2.1).
template <class T, Mem kind>
void exchange_memory(Cpu& cpu, const Op* op) {
  u64 linear;
  if (!address<kind>(cpu, op, sizeof(T), Access::write, linear)) return;
  const Maybe old = update_locked<Mov, T>(cpu, op, linear, cpu.reg<T>(op->src));
  if (!old.ok) return;
  cpu.set_reg<T>(op->src, static_cast<T>(old.value));
  CLOISTER_NEXT(cpu, op);
}

Selected select_xchg(const Insn& insn, Op& op) {
  Form form = form_as_encoded(insn, true);
  if (insn.is_mem(1)) form.operands = Operands::mem_reg;
  const Handler handler = by_size(insn.bits(0), [&](auto size) -> Handler {
    using T = decltype(size);
    if (insn.is_mem(0) || insn.is_mem(1)) {
      op.src = insn.reg(insn.is_mem(0) ? 1 : 0);
      return by_memory_rare(insn.memory, [](auto m) -> Handler { return &exchange_memory<T, m.kind>; });
    }
    op.dst = insn.reg(0);
    op.src = insn.reg(1);
    return &exchange_registers<T>;
  });
  return {.handler = handler, .form = form};
}

/// Does nothing, but that a loop of it at CPL 0 may exit (SDM vol. 3C, 26.1.3).
void pause(Cpu& cpu, const Op* op) {
  if (cpu.cpl == 0 && cpu.vcpu->pause_loop_is_long(op)) {
    cpu.exit = {};
    cpu.exit.reason = ExitReason::pause;
    return vm_exit(cpu, op);
  }
  CLOISTER_NEXT(cpu, op);
}

template <class T, Mem kind>
void lea(Cpu& cpu, const Op* op) {
  u64 v = cpu.gpr[op->base] + static_cast<u64>(static_cast<i64>(op->disp));
  if constexpr (kind == Mem::full) v += cpu.gpr[op->index] << op->scale;
  if constexpr (kind == Mem::any) v = effective_address(cpu, op, Mem::any);
  cpu.set_reg<T>(op->dst, static_cast<T>(v));
  CLOISTER_NEXT(cpu, op);
}

Selected select_lea(const Insn& insn, Op& op) {
  op.dst = insn.reg(0);
  return {by_wide_size(insn.bits(0),
                       [&](auto size) -> Handler {
                         return by_memory(insn.memory, [](auto m) -> Handler { return &lea<decltype(size), m.kind>; });
                       }),
          false, form_as_encoded(insn, true)};
}

/// The low half of RAX, sign-extended into all of it: CBW, CWDE, CDQE.
template <class To, class From_>
void extend_rax(Cpu& cpu, const Op* op) {
  cpu.set_reg<To>(arch::rax, static_cast<To>(static_cast<From_>(cpu.gpr[arch::rax])));
  CLOISTER_NEXT(cpu, op);
}
/// rDX filled with the sign of rAX: CWD, CDQ, CQO.
template <class T>
void sign_into_rdx(Cpu& cpu, const Op* op) {
  const bool negative = static_cast<std::make_signed_t<T>>(cpu.reg<T>(arch::rax)) < 0;
  cpu.set_reg<T>(arch::rdx, negative ? static_cast<T>(~T{0}) : T{0});
  CLOISTER_NEXT(cpu, op);
}

/// Of an instruction on registers that it does not name.
template <Handler handler, u8 bytes>
Selected implied(const Insn&, Op&) {
  return {handler, false, {.operands = Operands::implied, .bytes = bytes, .writes = true}};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_MOV, &select_mov},
    {ZYDIS_MNEMONIC_MOVBE, &select_binary<Movbe>},
    {ZYDIS_MNEMONIC_MOVDIRI, &select_binary<Mov>},
    {ZYDIS_MNEMONIC_MOVZX, &select_extend<false>},
    {ZYDIS_MNEMONIC_MOVSX, &select_extend<true>},
    {ZYDIS_MNEMONIC_MOVSXD, &select_extend<true>},
    {ZYDIS_MNEMONIC_BSWAP, &select_bswap},
    {ZYDIS_MNEMONIC_XCHG, &select_xchg},
    {ZYDIS_MNEMONIC_PAUSE, &always<&pause>},
    {ZYDIS_MNEMONIC_LEA, &select_lea},
    {ZYDIS_MNEMONIC_CBW, &implied<&extend_rax<u16, i8>, 2>},
    {ZYDIS_MNEMONIC_CWDE, &implied<&extend_rax<u32, i16>, 4>},
    {ZYDIS_MNEMONIC_CDQE, &implied<&extend_rax<u64, i32>, 8>},
    {ZYDIS_MNEMONIC_CWD, &implied<&sign_into_rdx<u16>, 2>},
    {ZYDIS_MNEMONIC_CDQ, &implied<&sign_into_rdx<u32>, 4>},
    {ZYDIS_MNEMONIC_CQO, &implied<&sign_into_rdx<u64>, 8>},
};

}  // namespace

std::span<const Row> move_rows() { return rows; }

}  // namespace cloister::silicon
