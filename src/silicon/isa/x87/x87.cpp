// The x87 register stack, status and exceptions: see x87.hpp (SDM vol. 1, 8.1, 8.4 and 8.5).
#include "silicon/isa/x87/x87.hpp"

#include "silicon/isa/vector_access.hpp"
#include "silicon/isa/x87/x87_host.hpp"

namespace cloister::silicon {
namespace {

enum Tag : u16 { valid = 0, zero = 1, special = 2, empty = 3 };

/// SDM vol. 1, figure 8-7.
Tag tag_of(const Float80& v) {
  const u16 exponent = v.sign_exponent & 0x7fff;
  if (exponent == 0 && v.mantissa == 0) return zero;
  return exponent == 0 || exponent == 0x7fff || v.mantissa >> 63 == 0 ? special : valid;
}

/// FOP and FDP. The opcode is in Op::imm of every x87 operation.
void record_exception(Cpu& cpu, const Op* op) {
  cpu.fpu.opcode = op->imm & 0x7ff;
  const bool has_memory = (op->imm & 0xc0) != 0xc0;
  if (has_memory) {
    cpu.fpu.operand = effective_address(cpu, op, (op->aux & any_address) != 0 ? Mem::any : Mem::full);
  }
}

}  // namespace

void x87_unavailable(Cpu& cpu, const Op* op) {
  if (cpu.fpu.x87_blocked) return raise_nm(cpu, op);
  raise(cpu, op, {arch::vector::mf, false, 0});
}

u16 x87_full_tags(const FpuState& fpu) {
  u16 tags = 0;
  for (unsigned r = 0; r < 8; ++r) {
    const Tag tag = ((fpu.valid >> r) & 1) != 0 ? tag_of(fpu.st[r]) : empty;
    tags |= static_cast<u16>(tag << (2 * r));
  }
  return tags;
}

void x87_set_full_tags(FpuState& fpu, u16 tags) {
  fpu.valid = 0;
  for (unsigned r = 0; r < 8; ++r) {
    if (((tags >> (2 * r)) & 3) != empty) fpu.valid |= static_cast<u8>(1u << r);
  }
}

void x87_set_status_word(FpuState& fpu, u16 value) {
  fpu.top = (value >> 11) & 7;
  fpu.status = value & static_cast<u16>(~x87::top);
  x87_update_summary(fpu);
}

void x87_init(FpuState& fpu) {
  fpu.control = x87::control_initial;
  fpu.status = 0;
  fpu.top = 0;
  fpu.valid = 0;
  fpu.opcode = 0;
  fpu.instruction = fpu.operand = 0;
}

bool x87_report(Cpu& cpu, const Op* op, u16 host_status) {
  FpuState& fpu = cpu.fpu;
  constexpr u16 before_result = x87::ie | x87::ze | x87::de;
  u16 flags = host_status & x87::flags;
  const u16 unmasked = flags & static_cast<u16>(~fpu.control);
  const bool forbidden = (unmasked & before_result) != 0;
  if (forbidden) flags &= before_result;
  fpu.status = static_cast<u16>((fpu.status & ~x87::c1) | (host_status & x87::c1) | flags);
  if (unmasked == 0) return true;
  x87_update_summary(fpu);
  record_exception(cpu, op);
  return !forbidden;
}

bool x87_stack_fault(Cpu& cpu, const Op* op, bool overflow) {
  cpu.fpu.status |= x87::sf;
  return x87_report(cpu, op, static_cast<u16>(x87::ie | (overflow ? x87::c1 : 0)));
}

void x87_push_checked(Cpu& cpu, const Op* op, const X87Result& r) {
  FpuState& fpu = cpu.fpu;
  if (!x87_empty(fpu, 7)) {
    if (x87_stack_fault(cpu, op, true)) x87_push(fpu, x87::indefinite);
  } else if (x87_report(cpu, op, r.status)) {
    x87_push(fpu, r.value);
  }
}

}  // namespace cloister::silicon
