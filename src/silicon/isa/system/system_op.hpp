// Operands of system instructions, which are decided at run time: these are not hot.
#pragma once

#include "silicon/isa/system/descriptor.hpp"
#include "silicon/isa/system/rows.hpp"
#include "silicon/mmu/access.hpp"
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

/// What a system handler finds in Op::aux: the memory operand's kind in bits 1:0 (3: a register), the operand size in
/// bytes in bits 7:2.
inline constexpr u8 aux_register = 3;
inline u8 system_aux(const Insn& insn, unsigned operand) {
  const unsigned kind = insn.is_mem(operand) ? static_cast<unsigned>(insn.memory) : aux_register;
  return static_cast<u8>(kind | ((insn.bits(operand) / 8) << 2));
}
inline unsigned aux_bytes(const Op* op) { return op->aux >> 2; }
inline bool aux_is_register(const Op* op) { return (op->aux & 3) == aux_register; }

/// The linear address of the memory operand; false: it faulted.
inline bool system_linear(Cpu& cpu, const Op* op, unsigned bytes, Access access, u64& linear) {
  if (static_cast<Mem>(op->aux & 3) == Mem::any) return linear_any(cpu, op, bytes, access, linear);
  linear = effective_address(cpu, op, Mem::full) + cpu.seg_base[op->seg];
  return true;
}

/// Reads the r/m operand (register `reg` if it is one), zero-extended.
inline bool system_read_rm(Cpu& cpu, const Op* op, u8 reg, unsigned bytes, u64& value) {
  value = 0;
  if (aux_is_register(op)) {
    value = cpu.gpr[reg];
    if (bytes < 8) value &= (u64{1} << (8 * bytes)) - 1;
    return true;
  }
  u64 linear;
  if (!system_linear(cpu, op, bytes, Access::read, linear)) return false;
  return load_slow(cpu, op, linear, &value, bytes);
}

/// Writes a 2-, 4- or 8-byte register as the operand size says.
inline void write_sized(Cpu& cpu, u8 reg, u64 value, unsigned bytes) {
  switch (bytes) {
    case 2: return cpu.set_reg<u16>(reg, static_cast<u16>(value));
    case 4: return cpu.set_reg<u32>(reg, static_cast<u32>(value));
    default: return cpu.set_reg<u64>(reg, value);
  }
}

/// The handler of a body that passes addresses of its locals about. The body is not inlined into it, so that nothing
/// keeps the compiler from jumping to the next handler; false: the body raised something.
template <bool (*body)(Cpu&, const Op*)>
void system_handler(Cpu& cpu, const Op* op) {
  if (!body(cpu, op)) return;
  CLOISTER_NEXT(cpu, op);
}

/// Stores a 2-byte selector or status word to the r/m operand (a register takes it zero-extended to its size).
[[gnu::noinline]] inline bool system_write_rm16(Cpu& cpu, const Op* op, u64 value) {
  if (aux_is_register(op)) {
    write_sized(cpu, op->dst, value, aux_bytes(op));
    return true;
  }
  u64 linear;
  return system_linear(cpu, op, 2, Access::write, linear) && store<u16>(cpu, op, linear, static_cast<u16>(value));
}

/// Raises what a Miss says, for the instruction `op`.
inline void raise_miss(Cpu& cpu, const Op* op, const Miss& m) {
  if (!m.is_exit) return raise(cpu, op, m.fault);
  cpu.exit = m.exit;
  return vm_exit(cpu, op);
}

inline bool privileged(Cpu& cpu, const Op* op) {
  if (cpu.cpl == 0) return true;
  raise_gp(cpu, op);
  return false;
}

}  // namespace cloister::silicon
