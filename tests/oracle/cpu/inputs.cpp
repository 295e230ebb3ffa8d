// Registers, flags, x87, MMX and SSE state and operands in memory, by the types that the instruction works on.
#include "oracle/cpu/inputs.hpp"

#include <algorithm>
#include <cstring>

#include "oracle/cpu/address.hpp"
#include "oracle/cpu/constraints.hpp"

namespace cloister::oracle {
namespace {

using Vector = std::array<u64, 2>;

Vector vector_of(Random& random, unsigned kind) {
  switch (kind) {
    case 0: {
      const auto pair = [&] { return u64{random.float32()} | (u64{random.float32()} << 32); };
      const u64 low = pair();
      return {low, pair()};
    }
    case 1: {
      const u64 low = random.float64();
      return {low, random.float64()};
    }
    case 2: {
      const Random::Extended value = random.float80();
      return {value.mantissa, value.sign_exponent};
    }
    default: {
      const u64 low = random.integer();
      return {low, random.integer()};
    }
  }
}

/// 0 to 3: single, double, extended precision, integers; by the operand that says most.
unsigned preferred_kind(const Instruction& i, Random& random) {
  if (random.percent(15)) return static_cast<unsigned>(random.below(4));
  for (const ZydisDecodedOperand& op : i.operands()) {
    switch (op.element_type) {
      case ZYDIS_ELEMENT_TYPE_FLOAT32: return 0;
      case ZYDIS_ELEMENT_TYPE_FLOAT64: return 1;
      case ZYDIS_ELEMENT_TYPE_FLOAT80: return op.type == ZYDIS_OPERAND_TYPE_MEMORY ? 2 : 3;
      default: break;
    }
  }
  return 3;
}

/// Rounding, DAZ and FTZ at random; most exceptions masked (SDM vol. 1, figure 10-3).
u32 mxcsr(Random& random) {
  const u64 noise = random.next();
  u32 value = static_cast<u32>(noise & 0xe07f);
  const u64 masks = (noise >> 16) & 3;
  value |= masks == 0 ? static_cast<u32>((noise >> 20) & 0x1f80) : 0x1f80;
  if ((noise >> 32) & 1) value &= ~0x8040u;
  return value;
}

void fill_fpu(State& state, const Instruction& i, Random& random) {
  FpuImage& fpu = state.fpu;
  fpu = {};
  const unsigned kind = preferred_kind(i, random);
  for (Vector& v : fpu.xmm) v = vector_of(random, kind);
  for (Vector& v : state.upper) v = vector_of(random, kind);
  if (random.percent(15)) fpu.xmm[random.below(8)] = fpu.xmm[random.below(8)];
  fpu.mxcsr = mxcsr(random);
  const bool small = random.percent(30);  // operands of like size, for FPREM, FSCALE and the transcendentals
  for (FpuImage::Slot& slot : fpu.st) {
    Random::Extended value = random.float80();
    if (small) value.sign_exponent = static_cast<u16>((value.sign_exponent & 0x8000) | (16383 - 8 + random.below(24)));
    if (small) value.mantissa |= u64{1} << 63;
    slot.mantissa = value.mantissa;
    slot.sign_exponent = value.sign_exponent;
  }
  const bool mmx = i.info.meta.isa_ext == ZYDIS_ISA_EXT_MMX;
  if (mmx || random.percent(10)) {
    for (FpuImage::Slot& slot : fpu.st) slot.mantissa = random.integer();
  }
  const u64 noise = random.next();
  switch (noise & 7) {
    case 0: fpu.valid = static_cast<u8>(noise >> 8); break;
    case 1: fpu.valid = 0; break;
    default: fpu.valid = 0xff; break;
  }
  // Precision control, rounding control and masks; bit 6 is always 1 (SDM vol. 1, figure 8-6).
  fpu.control =
      static_cast<u16>(((noise >> 16) & 0x0f00) | 0x40 | ((noise & 0x300) == 0 ? (noise >> 28) & 0x3f : 0x3f));
  if (((fpu.control >> 8) & 3) == 1) fpu.control |= 0x300;  // precision 01 is reserved
  // Exceptions that are already flagged are masked, but for the pending ones that FWAIT and its like report.
  fpu.status = static_cast<u16>((noise >> 34) & 0x7f00);
  u16 flags = static_cast<u16>((noise >> 50) & 0x7f);
  if ((noise >> 57 & 7) != 0) flags &= fpu.control;
  if ((flags & 0x3f & ~fpu.control) != 0) flags |= 0x8080;
  fpu.status |= flags & 0xffff;
}

/// Operand-sized random contents at `at`.
void fill_memory(const ZydisDecodedOperand& op, u64 at, const Instruction& i, const State& state, Random& random,
                 Sandbox& memory) {
  std::array<u64, 64> words;
  const std::size_t bytes = std::min<std::size_t>(std::max(op.size / 8, 8), sizeof words);
  if (bytes > 32) {
    for (u64& word : words) word = random.integer();
  } else {
    const unsigned kind = preferred_kind(i, random);
    for (unsigned k = 0; k < 4; k += 2) {
      const Vector v = vector_of(random, kind);
      words[k] = v[0];
      words[k + 1] = v[1];
    }
    const u64 noise = random.below(100);
    if (noise < 10) words[0] = state.gpr[random.below(16)];
    if (noise >= 10 && noise < 20) std::memcpy(words.data(), &state.fpu.xmm[random.below(16)], 16);
    if (op.element_type == ZYDIS_ELEMENT_TYPE_LONGBCD && noise < 80) {
      for (u64& word : words) word = random.next() & 0x7777'7777'7777'7777;
    }
  }
  memory.write(at, {reinterpret_cast<const u8*>(words.data()), bytes});
}

}  // namespace

void Sandbox::write(u64 linear, std::span<const u8> bytes) {
  u64 from = std::max(linear, sandbox::data);
  const u64 to = std::min(linear + bytes.size(), sandbox::data_end);
  if (linear + bytes.size() < linear || from >= to) return;
  std::memcpy(native.data() + (from - sandbox::base), bytes.data() + (from - linear), to - from);
  std::memcpy(software.data() + (from - sandbox::base), bytes.data() + (from - linear), to - from);
}

State make_inputs(const Instruction& i, Random& random, Sandbox& memory) {
  State state;
  state.rip = sandbox::instruction;
  state.seg = {selector::data, i.bits64 ? selector::code64 : selector::code32, selector::data, selector::data, 0,
               selector::data};
  for (u64& reg : state.gpr) reg = random.integer();
  if (random.percent(20)) state.gpr[random.below(16)] = state.gpr[random.below(16)];
  const u64 stack = sandbox::data + 0x200 + random.below(sandbox::data_bytes - 0x400);
  state.gpr[arch::rsp] = random.percent(90) ? stack & ~u64{7} : stack;
  const u64 noise = random.next();
  state.rflags = arch::rflags::fixed1 | arch::rflags::if_ | (noise & arch::rflags::status);
  const bool string = i.info.meta.category == ZYDIS_CATEGORY_STRINGOP;
  if (string ? (noise >> 32 & 1) != 0 : (noise >> 32 & 15) == 0) state.rflags |= arch::rflags::df;
  fill_fpu(state, i, random);
  constrain_registers(i, state, random);

  // The visible operand last: its base may be RSP.
  for (const bool visible : {false, true}) {
    for (const ZydisDecodedOperand& op : i.operands()) {
      if (op.type != ZYDIS_OPERAND_TYPE_MEMORY || op.mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
      if ((op.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN) != visible) continue;
      const unsigned width = i.info.address_width;
      aim(state, i, op, pick_target(random, op.size / 8, width), random);
    }
  }
  for (const ZydisDecodedOperand& op : i.operands()) {
    if (op.type != ZYDIS_OPERAND_TYPE_MEMORY || op.mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
    fill_memory(op, linear_address(state, i, op), i, state, random, memory);
  }
  constrain_memory(i, state, random, memory);
  if (!i.bits64) {
    for (u64& reg : state.gpr) reg = static_cast<u32>(reg);
  }
  return state;
}

}  // namespace cloister::oracle
