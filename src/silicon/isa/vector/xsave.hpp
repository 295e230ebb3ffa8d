// The XSAVE feature set with three components: x87 and SSE, which lie in the legacy region, and AVX, the upper halves
// of the YMM registers. Since no other is there, AVX lies behind the header in the standard form and in the compacted
// one (SDM vol. 1, ch. 13).
#pragma once

#include "silicon/isa/vector/rows.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

namespace xstate {
inline constexpr u64 x87 = 1, sse = 2, avx = 4, compacted = u64{1} << 63;
inline constexpr unsigned legacy_bytes = 512, header_end = 576, avx_bytes = 256, area_bytes = header_end + avx_bytes;
/// Of an area with these components.
constexpr unsigned bytes_of(u64 components) { return (components & avx) != 0 ? area_bytes : header_end; }
}  // namespace xstate

/// XINUSE: the components that are not in their initial configuration (SDM vol. 1, 13.6).
u64 xinuse(const FpuState& fpu);

/// The components' initial configurations; MXCSR is set by the caller.
void init_x87_component(FpuState& fpu);
void init_sse_component(FpuState& fpu, bool sixteen_registers);
void init_avx_component(FpuState& fpu, bool sixteen_registers);

// The AVX component: 16 bytes a register; outside 64-bit mode the upper eight registers' stay as they are.
void write_avx_image(const FpuState& fpu, bool sixteen_registers, u8* component);
void read_avx_image(FpuState& fpu, bool sixteen_registers, const u8* component);

}  // namespace cloister::silicon
