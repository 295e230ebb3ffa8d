// Instructions of the host, as bytes (SDM vol. 2A, ch. 2): prefixes, REX, opcode, ModRM, SIB, displacement, immediate.
//
// It knows how operands are encoded, and nothing of what an opcode does: opcodes are numbers, as the manual has them,
// with 0F in the second byte, and a digit as the register where the manual says /digit.
#pragma once

#include <array>
#include <vector>

#include "arch/types.hpp"

namespace cloister::silicon {

/// A register of the host by its number.
using HostReg = u8;
inline constexpr HostReg no_register = 0xff;

struct Address {
  HostReg base = no_register, index = no_register;
  u8 scale = 0;  ///< shift count
  i32 disp = 0;
};

/// A register, or memory.
struct Place {
  bool memory = false;
  HostReg reg = 0;
  Address at = {};

  constexpr Place(HostReg r) : reg(r) {}                      // NOLINT: a register is a place
  constexpr Place(const Address& a) : memory(true), at(a) {}  // NOLINT: so is memory
};

/// A place in the code that is not known yet.
struct Label {
  u32 number;
};

class Encoder {
 public:
  /// The code will run at `origin`.
  explicit Encoder(const u8* origin) : origin_(reinterpret_cast<u64>(origin)) {}

  /// What the operand size makes of prefixes: 2 is 66, 8 is REX.W; registers of one byte need REX from SPL on.
  struct Sizes {
    u8 operand = 8;
    u8 reg = 8, rm = 8;  ///< bytes, where they differ (MOVZX)
  };
  static constexpr Sizes all(u8 bytes) { return {bytes, bytes, bytes}; }

  /// opcode reg, rm, or opcode rm, reg: the opcode says which. An immediate of `imm_bytes` follows.
  void op(u32 opcode, HostReg reg, const Place& rm, Sizes sizes, i64 imm = 0, u8 imm_bytes = 0);
  /// The same of 8 bytes.
  void op(u32 opcode, HostReg reg, const Place& rm) { op(opcode, reg, rm, Sizes{}); }
  /// An SSE instruction: `opcode` is its mandatory prefix (or 0), 0F or, where the manual has 0F 38 or 0F 3A, the
  /// second of these, and the opcode itself: 0x660fef, 0x663800. Registers may be XMM's.
  void sse(u32 opcode, HostReg reg, const Place& rm, bool wide = false, i64 imm = 0, u8 imm_bytes = 0);
  /// A VEX-encoded instruction: `opcode` as for sse(), `third` the register in VEX.vvvv (0: none, too), VEX.L and
  /// VEX.W.
  struct Vex {
    HostReg third = 0;
    bool l = false, w = false;
  };
  void vex(u32 opcode, HostReg reg, const Place& rm, Vex v, i64 imm = 0, u8 imm_bytes = 0);
  /// The register is in the opcode's low bits (BSWAP, MOV of an immediate).
  void op_in_opcode(u32 opcode, HostReg reg, u8 bytes, u64 imm = 0, u8 imm_bytes = 0);
  void bytes(std::initializer_list<u8> list) { code_.insert(code_.end(), list); }

  void mov(HostReg to, const Place& from, u8 bytes = 8) { op(0x8b, to, from, all(bytes)); }
  void store(const Address& to, HostReg from, u8 bytes = 8) { op(bytes == 1 ? 0x88 : 0x89, from, to, all(bytes)); }
  void lea(HostReg to, const Address& from, u8 bytes = 8) { op(0x8d, to, from, {bytes}); }
  /// The shortest MOV of a constant; no flags change.
  void mov_imm(HostReg to, u64 value);

  void jmp(const void* target);
  void call(const void* target);
  void jmp(Label to);
  void jcc(u8 condition, Label to);
  void jcc(u8 condition, const void* target);
  void lea(HostReg to, Label place);
  void jmp(const Place& through) { op(0xff, 4, through, {4}); }
  void ret() { bytes({0xc3}); }

  Label label();
  void bind(Label l) { labels_[l.number] = here(); }
  u32 here() const { return static_cast<u32>(code_.size()); }
  const u8* address_of(Label l) const { return reinterpret_cast<const u8*>(origin_ + labels_[l.number]); }
  /// The code, with all labels resolved.
  const std::vector<u8>& finish();

 private:
  void relative(Label to);
  void relative(const void* to);
  void imm(u64 value, u8 bytes);
  void rex(bool w, HostReg reg, const Place& rm, bool always = false);
  void opcode(u32 code);
  void modrm(HostReg reg, const Place& rm);

  u64 origin_;
  std::vector<u8> code_;
  std::vector<u32> labels_;
  struct Fixup {
    u32 at, label;
  };
  std::vector<Fixup> fixups_;
};

}  // namespace cloister::silicon
