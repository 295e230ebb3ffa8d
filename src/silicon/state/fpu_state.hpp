// x87, MMX, SSE and AVX state (SDM vol. 1, ch. 8 to 10 and 14).
#pragma once

#include <array>

#include "arch/types.hpp"

namespace cloister::silicon {

/// A vector register.
struct alignas(16) Xmm {
  std::array<u8, 16> byte{};
};

/// An 80-bit extended-precision value as FXSAVE stores it; MMX registers are the mantissas.
struct Float80 {
  u64 mantissa = 0;
  u16 sign_exponent = 0;
};

/// Bits of the status and control words (SDM vol. 1, 8.1.3 and 8.1.5).
namespace x87 {
inline constexpr u16 ie = 1u << 0, de = 1u << 1, ze = 1u << 2, oe = 1u << 3, ue = 1u << 4, pe = 1u << 5, sf = 1u << 6,
                     es = 1u << 7, c0 = 1u << 8, c1 = 1u << 9, c2 = 1u << 10, top = 7u << 11, c3 = 1u << 14,
                     busy = 1u << 15;
inline constexpr u16 flags = 0x3f, conditions = c0 | c1 | c2 | c3;
inline constexpr u16 control_initial = 0x37f, control_one = 0x40, control_defined = 0x1f3f;

/// Real indefinite: the masked response to an invalid operation.
inline constexpr Float80 indefinite{0xc000'0000'0000'0000, 0xffff};
}  // namespace x87

struct FpuState {
  std::array<Xmm, 16> xmm{};
  u32 mxcsr = 0x1f80;        ///< without the flags that the host's MXCSR has collected: see guest_mxcsr()
  u32 host_mxcsr = 0x1f80;   ///< the host's own, while the guest's is loaded
  bool mxcsr_live = false;   ///< the host's MXCSR holds the guest's rounding and collects its flags
  bool x87_blocked = false;  ///< CR0.EM or CR0.TS forbid x87 and MMX
  // Translated code asks the first four of these at once, as one doubleword, for SSE, and all eight for AVX: it goes on
  // if they are false.
  alignas(8) bool sse_blocked = true;  ///< CR0.EM, CR0.TS or CR4.OSFXSR forbid SSE: see update_fpu_blocks()
  bool xmm_here = true;                ///< xmm has the guest's values, and not the host's registers
  bool sse_unmasked = false;           ///< MXCSR leaves an exception unmasked
  bool always_false = false;
  bool avx_blocked = true;  ///< CR0.TS, CR4.OSXSAVE or XCR0 forbid VEX-encoded vector instructions
  bool upper_here = true;   ///< upper has the guest's values, and not the host's registers, which hold xmm's then, too
  bool also_false = false, last_false = false;

  std::array<Float80, 8> st{};  ///< by physical number (R0 to R7): ST(i) is st[(top + i) % 8]
  u16 control = 0x37f;
  u16 status = 0;  ///< without TOP: bits 13:11 are kept in `top`
  u8 top = 0;
  u8 valid = 0;         ///< abridged tag word: bit n set if Rn is not empty
  u16 opcode = 0;       ///< last non-control instruction (FOP)
  u64 instruction = 0;  ///< its address (FIP; FCS is 0)
  u64 operand = 0;      ///< its memory operand's address (FDP; FDS is 0)

  /// Bits 255:128 of the YMM registers, whose bits 127:0 are the XMM registers.
  std::array<Xmm, 16> upper{};
};

}  // namespace cloister::silicon
