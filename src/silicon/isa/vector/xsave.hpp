// The XSAVE feature set with two components, x87 and SSE, which lie in the legacy region: the area has 576 bytes in the
// standard and in the compacted form (SDM vol. 1, ch. 13).
#pragma once

#include "silicon/isa/vector/rows.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

namespace xstate {
inline constexpr u64 x87 = 1, sse = 2, supported = x87 | sse, compacted = u64{1} << 63;
inline constexpr unsigned legacy_bytes = 512, area_bytes = 576;
}  // namespace xstate

/// XINUSE: the components that are not in their initial configuration (SDM vol. 1, 13.6).
u64 xinuse(const FpuState& fpu);

/// The components' initial configurations; MXCSR is set by the caller.
void init_x87_component(FpuState& fpu);
void init_sse_component(FpuState& fpu, bool sixteen_registers);

}  // namespace cloister::silicon
