// What both worlds start from and end with: the user-visible state of a processor, and the sandbox around it.
#pragma once

#include <array>
#include <optional>

#include "arch/regs.hpp"

namespace cloister::oracle {

/// The sandbox is below 2 GiB so that every address size and a sign-extended displacement reach it. Nothing else is
/// mapped within 4 GiB: addresses outside the sandbox fault in both worlds.
namespace sandbox {
inline constexpr u64 base = 0x2000'0000;
inline constexpr u64 code = base;                      ///< filled with INT3 around the one instruction
inline constexpr u64 tables = base + arch::page_size;  ///< GDT of the software processor
inline constexpr u64 data = base + 2 * arch::page_size;
inline constexpr u64 data_bytes = 3 * arch::page_size;
inline constexpr u64 data_end = data + data_bytes;
inline constexpr u64 bytes = data_end - base;
/// Where the instruction stands: rel8 reaches the INT3s on both sides.
inline constexpr u64 instruction = code + 0x800;
/// GS has this base in both worlds, so that 16-bit addresses reach the data.
inline constexpr u64 gs_base = data - 0x4000;
}  // namespace sandbox

/// Selectors that Linux gives a process; the software processor's GDT has the same.
namespace selector {
inline constexpr u16 code32 = 0x23, data = 0x2b, code64 = 0x33;
/// Those, the host kernel's own, null selectors, and one in the absent LDT.
inline constexpr std::array<u16, 16> all = {0,    1,    3,    4,    0x10, 0x18, 0x23, 0x23,
                                            0x23, 0x23, 0x2b, 0x2b, 0x2b, 0x33, 0x33, 0x33};
}  // namespace selector

/// The FXSAVE image (SDM vol. 1, table 10-2).
struct alignas(16) FpuImage {
  u16 control = 0x37f, status = 0;
  u8 valid = 0, reserved = 0;
  u16 opcode = 0;
  u64 instruction = 0, operand = 0;
  u32 mxcsr = 0x1f80, mxcsr_mask = 0xffff;
  struct Slot {
    u64 mantissa = 0;
    u16 sign_exponent = 0;
    std::array<u16, 3> reserved{};
  };
  std::array<Slot, 8> st{};  ///< ST(0) to ST(7)
  std::array<std::array<u64, 2>, 16> xmm{};
  std::array<u8, 96> rest{};

  unsigned top() const { return (status >> 11) & 7; }
};
static_assert(sizeof(FpuImage) == 512);

struct State {
  FpuImage fpu;
  std::array<std::array<u64, 2>, 16> upper{};  ///< bits 255:128 of the YMM registers
  std::array<u64, 16> gpr{};
  u64 rip = 0, rflags = 0;
  std::array<u16, arch::seg_count> seg{};  ///< selectors
};

/// How an instruction ended.
struct Outcome {
  State state;
  std::optional<u8> vector;  ///< exception
  u32 error = 0;
  u64 cr2 = 0;  ///< of #PF
};

/// Flags that a process sees and sets. RF is in the image that a fault pushes and not the instruction's doing.
inline constexpr u64 visible_flags =
    arch::rflags::status | arch::rflags::df | arch::rflags::nt | arch::rflags::ac | arch::rflags::id;

}  // namespace cloister::oracle
