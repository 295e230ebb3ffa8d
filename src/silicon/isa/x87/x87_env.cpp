// x87 control: the control and status words, the environment and the whole state (SDM vol. 1, 8.1.10 and 8.3.11;
// layouts: figures 8-9 to 8-12).
#include "silicon/isa/x87/x87_select.hpp"

namespace cloister::silicon {
namespace {

// ---- control and status word

void fldcw(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  {
    u16 value;
    if (!read_operand<From::memory>(cpu, op, value)) return;
    x87_set_control(cpu.fpu, value);
    x87_update_summary(cpu.fpu);
  }
  CLOISTER_NEXT(cpu, op);
}

void fnstcw(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  if (!write_operand<From::memory>(cpu, op, cpu.fpu.control)) return;
  CLOISTER_NEXT(cpu, op);
}

void fnstsw(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  if (!write_operand<From::memory>(cpu, op, x87_status_word(cpu.fpu))) return;
  CLOISTER_NEXT(cpu, op);
}

void fnstsw_ax(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  cpu.set_reg<u16>(arch::rax, x87_status_word(cpu.fpu));
  CLOISTER_NEXT(cpu, op);
}

void fnclex(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  cpu.fpu.status &= x87::conditions;
  CLOISTER_NEXT(cpu, op);
}

void fninit(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  x87_init(cpu.fpu);
  CLOISTER_NEXT(cpu, op);
}

// ---- environment: by operand size and mode

struct Environment {
  u16 control, status, tags, opcode;
  u32 instruction, operand;
};

constexpr unsigned registers_bytes = 80;
using Image = std::array<u8, 28 + registers_bytes>;

/// In Op::dst: the layout.
enum Layout : u8 { protected16, protected32, real16, real32 };
constexpr unsigned environment_bytes(u8 layout) { return layout == protected32 || layout == real32 ? 28 : 14; }

template <class T>
void put(Image& image, unsigned at, T value) {
  std::memcpy(image.data() + at, &value, sizeof value);
}
template <class T>
T take(const Image& image, unsigned at) {
  T value;
  std::memcpy(&value, image.data() + at, sizeof value);
  return value;
}

void write_environment(const Environment& e, u8 layout, Image& image) {
  constexpr u32 ones = 0xffff'0000;  // reserved words
  switch (layout) {
    case protected32:
    case real32:
      put<u32>(image, 0, e.control | ones);
      put<u32>(image, 4, e.status | ones);
      put<u32>(image, 8, e.tags | ones);
      if (layout == protected32) {
        put<u32>(image, 12, e.instruction);
        put<u32>(image, 16, static_cast<u32>(e.opcode) << 16);
        put<u32>(image, 20, e.operand);
        put<u32>(image, 24, ones);
      } else {
        put<u32>(image, 12, (e.instruction & 0xffff) | ones);
        put<u32>(image, 16, (e.instruction >> 16 << 12) | e.opcode);
        put<u32>(image, 20, (e.operand & 0xffff) | ones);
        put<u32>(image, 24, e.operand >> 16 << 12);
      }
      break;
    default:
      put<u16>(image, 0, e.control);
      put<u16>(image, 2, e.status);
      put<u16>(image, 4, e.tags);
      put<u16>(image, 6, static_cast<u16>(e.instruction));
      put<u16>(image, 10, static_cast<u16>(e.operand));
      put<u16>(image, 8, layout == real16 ? static_cast<u16>(((e.instruction >> 16) << 12) | e.opcode) : u16{0});
      put<u16>(image, 12, layout == real16 ? static_cast<u16>((e.operand >> 16) << 12) : u16{0});
  }
}

Environment read_environment(const Image& image, u8 layout) {
  if (environment_bytes(layout) == 28) {
    Environment e{take<u16>(image, 0), take<u16>(image, 4), take<u16>(image, 8), 0, 0, 0};
    if (layout == protected32) {
      e.opcode = take<u16>(image, 18) & 0x7ff;
      e.instruction = take<u32>(image, 12);
      e.operand = take<u32>(image, 20);
    } else {
      e.opcode = take<u16>(image, 16) & 0x7ff;
      e.instruction = take<u16>(image, 12) | (take<u32>(image, 16) >> 12 << 16);
      e.operand = take<u16>(image, 20) | (take<u32>(image, 24) >> 12 << 16);
    }
    return e;
  }
  Environment e{take<u16>(image, 0), take<u16>(image, 2), take<u16>(image, 4), 0,
                take<u16>(image, 6), take<u16>(image, 10)};
  if (layout == real16) {
    e.opcode = take<u16>(image, 8) & 0x7ff;
    e.instruction |= static_cast<u32>(take<u16>(image, 8) >> 12) << 16;
    e.operand |= static_cast<u32>(take<u16>(image, 12) >> 12) << 16;
  }
  return e;
}

Environment environment_of(const FpuState& fpu) {
  return {fpu.control,
          x87_status_word(fpu),
          x87_full_tags(fpu),
          fpu.opcode,
          static_cast<u32>(fpu.instruction),
          static_cast<u32>(fpu.operand)};
}

void set_environment(FpuState& fpu, const Environment& e) {
  x87_set_control(fpu, e.control);
  x87_set_status_word(fpu, e.status);
  x87_set_full_tags(fpu, e.tags);
  fpu.opcode = e.opcode;
  fpu.instruction = e.instruction;
  fpu.operand = e.operand;
}

/// FNSTENV masks all exceptions after it; FNSAVE initializes the FPU.
template <bool whole>
void store_state(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  {
    FpuState& fpu = cpu.fpu;
    const unsigned head = environment_bytes(op->dst), bytes = head + (whole ? registers_bytes : 0);
    Image image;
    write_environment(environment_of(fpu), op->dst, image);
    for (unsigned i = 0; whole && i < 8; ++i) std::memcpy(image.data() + head + 10 * i, &x87_st(fpu, i), 10);
    u64 linear = 0;
    if (!operand_address<From::memory>(cpu, op, bytes, Access::write, linear)) return;
    if (!store_slow(cpu, op, linear, image.data(), bytes)) return;
    if (whole) {
      x87_init(fpu);
    } else {
      fpu.control |= x87::flags;
      x87_update_summary(fpu);
    }
  }
  CLOISTER_NEXT(cpu, op);
}

template <bool whole>
void load_state(Cpu& cpu, const Op* op) {
  if (!x87_ready(cpu, op)) return;
  {
    FpuState& fpu = cpu.fpu;
    const unsigned head = environment_bytes(op->dst), bytes = head + (whole ? registers_bytes : 0);
    Image image;
    u64 linear = 0;
    if (!operand_address<From::memory>(cpu, op, bytes, Access::read, linear)) return;
    if (!load_slow(cpu, op, linear, image.data(), bytes)) return;
    set_environment(fpu, read_environment(image, op->dst));
    for (unsigned i = 0; whole && i < 8; ++i) {
      std::memcpy(static_cast<void*>(&x87_st(fpu, i)), image.data() + head + 10 * i, 10);
    }
  }
  CLOISTER_NEXT(cpu, op);
}

template <Handler handler>
Selected select_state(const Insn& insn, Op& op) {
  x87_fill(insn, op);
  const bool wide = insn.info.operand_width != 16;
  const bool real = as_8086(insn.mode);
  op.dst = real ? (wide ? real32 : real16) : (wide ? protected32 : protected16);
  return {handler};
}

Selected select_fnstsw(const Insn& insn, Op& op) {
  x87_fill(insn, op);
  return {insn.has_memory ? &fnstsw : &fnstsw_ax};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_FLDCW, select_x87<&fldcw>},
    {ZYDIS_MNEMONIC_FNSTCW, select_x87<&fnstcw>},
    {ZYDIS_MNEMONIC_FNSTSW, select_fnstsw},
    {ZYDIS_MNEMONIC_FNCLEX, select_x87<&fnclex>},
    {ZYDIS_MNEMONIC_FNINIT, select_x87<&fninit>},
    {ZYDIS_MNEMONIC_FNSTENV, select_state<&store_state<false>>},
    {ZYDIS_MNEMONIC_FLDENV, select_state<&load_state<false>>},
    {ZYDIS_MNEMONIC_FNSAVE, select_state<&store_state<true>>},
    {ZYDIS_MNEMONIC_FRSTOR, select_state<&load_state<true>>},
};

}  // namespace

std::span<const Row> x87_env_rows() { return rows; }

}  // namespace cloister::silicon
