// One encoded instruction with what Zydis says of it.
#pragma once

#include <Zydis/Zydis.h>

#include <array>
#include <span>
#include <string>

#include "oracle/cpu/random.hpp"
#include "silicon/decode/decode.hpp"

namespace cloister::oracle {

struct Instruction {
  std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
  bool bits64 = true;
  ZydisDecodedInstruction info{};
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operand{};

  unsigned length() const { return info.length; }
  std::span<const u8> code() const { return {bytes.data(), info.length}; }
  std::span<const ZydisDecodedOperand> operands() const { return {operand.data(), info.operand_count}; }
  /// The first memory operand that is accessed, or null.
  const ZydisDecodedOperand* memory() const;
  bool repeated() const {
    return (info.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
  }
  std::string text() const;  ///< disassembly
};

/// Decodes at sandbox::instruction. False if the bytes are no instruction.
bool decode(std::span<const u8> bytes, bool bits64, Instruction& out);

/// Some of its operand in memory may be left alone.
bool is_masked_move(const Instruction& i);

/// Encoding-order number of a general register of any size, by its 64-bit parent; -1 for any other register.
int number_of(ZydisRegister reg);

/// What selects an instruction in the opcode tables (SDM vol. 2D, appendix A), and the ModRM byte.
struct Encoding {
  bool bits64 = true;
  u8 prefixes = 0;  ///< index: none, 66, F2, F3, 66 F2, 66 F3, F0, 66 F0, 67
  u8 rex = 0;       ///< REX or VEX: 0 none, 1 without W, 2 with W
  bool vex = false;
  u8 pp = 0, l = 0;  ///< VEX
  u8 map = 0;        ///< 0 one byte, 1 0F, 2 0F 38, 3 0F 3A
  u8 opcode = 0;
  u8 modrm = 0;  ///< if the instruction has one
};
inline constexpr unsigned prefix_kinds = 9;

/// The instruction with fixed zero bytes after ModRM: what it is. False if there is none.
bool plain(const Encoding& encoding, Instruction& out);
/// The same instruction with other registers, addressing form, displacement and immediate. Displacements that stand
/// alone and branch targets are made to fall into the sandbox. It may have become another form: the caller checks.
bool vary(const Encoding& encoding, Random& random, Instruction& out);

}  // namespace cloister::oracle
