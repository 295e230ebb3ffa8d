// The registers of a processor in non-root mode, in groups that are read and written by value (SDM vol. 3C, 25.4).
#pragma once

#include <array>

#include "arch/regs.hpp"
#include "arch/types.hpp"

namespace cloister::vmx {

/// A segment register with its hidden part. attributes: bits 7:0 and 15:12 of the descriptor's bytes 5 and 6 (type, S,
/// DPL, P, AVL, L, D/B, G), bit 16 unusable, as in VMX's access rights (SDM vol. 3C, table 25-2).
struct Segment {
  u16 selector = 0;
  u64 base = 0;
  u32 limit = 0;  ///< bytes, last valid offset
  u32 attributes = 0;
  bool operator==(const Segment&) const = default;
};

struct DescriptorTable {
  u64 base = 0;
  u16 limit = 0;
  bool operator==(const DescriptorTable&) const = default;
};

struct GeneralRegs {
  std::array<u64, 16> gpr{};  ///< in encoding order: arch::Gpr
  u64 rip = 0;
  u64 rflags = arch::rflags::fixed1;
};

struct SystemRegs {
  std::array<Segment, arch::seg_count> seg{};  ///< in encoding order: arch::SegReg
  Segment ldtr{}, tr{};
  DescriptorTable gdtr{}, idtr{};
  u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, cr8 = 0, xcr0 = 1, efer = 0;
  std::array<u64, 4> dr{};  ///< DR0 to DR3
  u64 dr6 = arch::dr6::fixed1, dr7 = arch::dr7::fixed1;
  u8 cpl = 0;  ///< read only: set() derives it from SS
};

/// What a processor is in the middle of between two instructions: what holds events back, and the debug exceptions that
/// are due (SDM vol. 3C, tables 25-3 and 25-4).
struct Interruptibility {
  bool sti = false, mov_ss = false;  ///< the shadow of STI, or of MOV SS or POP SS
  bool nmi = false;                  ///< one is in service, until IRET
  u64 pending_debug = 0;             ///< DR6 bits of a #DB that comes before the next instruction
  bool operator==(const Interruptibility&) const = default;
};

/// The legacy FXSAVE image (SDM vol. 1, table 10-2), 512 bytes.
using FxsaveImage = std::array<u8, 512>;

/// Bits 255:128 of YMM0 to YMM15: XSAVE's AVX component (SDM vol. 1, 13.5.2).
using UpperHalves = std::array<u8, 256>;

}  // namespace cloister::vmx
