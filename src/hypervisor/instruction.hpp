// The guest instruction that exited, decoded, for the exits whose qualification does not say enough: device accesses
// and string I/O. Zydis decodes; here is what its operands mean in terms of the guest's registers.
#pragma once

#include <Zydis/Zydis.h>

#include <optional>
#include <span>
#include <string>

#include "vmx/package.hpp"

namespace cloister::hypervisor {

/// 16, 32 or 64: the default size of code by CS and EFER (SDM vol. 3A, 5.2.1).
unsigned code_bits(const vmx::SystemRegs& system);

/// The linear address of the next instruction byte.
arch::Gva linear_rip(const vmx::GeneralRegs& general, const vmx::SystemRegs& system);

struct Instruction {
  ZydisDecodedInstruction info{};
  ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT]{};

  bool is_reg(unsigned i) const { return operand[i].type == ZYDIS_OPERAND_TYPE_REGISTER; }
  bool is_mem(unsigned i) const { return operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY; }
  unsigned bytes(unsigned i) const { return operand[i].size / 8u; }
  bool repeats() const {
    return (info.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
  }
};

/// nullopt: not a whole instruction.
std::optional<Instruction> decode(std::span<const u8> bytes, unsigned bits);

/// Intel syntax, for reports; the bytes in hexadecimal if they do not decode.
std::string disassemble(std::span<const u8> bytes, unsigned bits, u64 rip);

/// A general register operand of any size, AH to BH included. Writing 32 bits clears the upper half.
u64 read_register(const vmx::GeneralRegs& general, ZydisRegister reg);
void write_register(vmx::GeneralRegs& general, ZydisRegister reg, u64 value);

/// The linear address of memory operand i. Segment limits are not looked at: the processor did before it exited.
arch::Gva operand_address(const Instruction& insn, unsigned i, const vmx::GeneralRegs& general,
                          const vmx::SystemRegs& system);

/// The base that a segment register adds: none but FS and GS in 64-bit mode (SDM vol. 1, 3.4.2.1).
u64 segment_base(ZydisRegister segment, const vmx::SystemRegs& system);

/// Moves a string instruction's index register on by one element and counts RCX down if it repeats.
void step_index(vmx::GeneralRegs& general, arch::Gpr index, unsigned address_bits, unsigned bytes);
/// The count register, cut to the address size; and after one element, whether the instruction is complete.
u64 repeat_count(const vmx::GeneralRegs& general, unsigned address_bits);
bool count_down(vmx::GeneralRegs& general, unsigned address_bits);

}  // namespace cloister::hypervisor
