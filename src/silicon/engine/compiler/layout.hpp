// Where translated code keeps the guest's state: which registers of the host hold which of the guest's, and where the
// rest is, relative to the register that holds the processor.
//
// Twelve of the guest's registers are in the host's all the time that translated code runs, so that one block leads to
// the next without a move; those that instructions name implicitly are in themselves. The other four, and all that is
// not a general register, are in Cpu. The XMM registers are in themselves from the first instruction that names one
// until code is left for a handler or the run loop (FpuState::xmm_here), and so are the YMM registers from the first
// VEX-encoded one (FpuState::upper_here).
#pragma once

#include <array>
#include <cstddef>

#include "silicon/engine/compiler/encoder.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

namespace host {
inline constexpr HostReg rax = 0, rcx = 1, rdx = 2, rbx = 3, rsp = 4, rbp = 5, rsi = 6, rdi = 7, r9 = 9, r10 = 10,
                         r11 = 11, r15 = 15;
/// The processor, and what translated code computes with.
inline constexpr HostReg cpu = rbp, scratch = rax, second_scratch = r15;
}  // namespace host

/// By the guest's number.
inline constexpr std::array<HostReg, 16> host_of{host::r9,  host::rcx, host::rdx, host::rbx,   host::r10,   host::r11,
                                                 host::rsi, host::rdi, 8,         no_register, no_register, no_register,
                                                 12,        13,        14,        no_register};

/// The register points so far into Cpu: then one byte of displacement reaches all that is hot.
inline constexpr i32 cpu_bias = 144;

/// Displacements from that register. Measured on a processor: the language promises no offsets for such a class.
struct Layout {
  i32 gpr, seg_base, flags, context, budget, block, rip, fetch_key, attention, by_handler, jump_cache, tlb, return_top,
      returns, leave, xmm, upper, sse_blocked, xmm_here, sse_unmasked, avx_blocked, upper_here;

  explicit Layout(const Cpu& cpu)
      : gpr(from(cpu, cpu.gpr)),
        seg_base(from(cpu, cpu.seg_base)),
        flags(from(cpu, cpu.flags.aux)),
        context(from(cpu, cpu.context)),
        budget(from(cpu, cpu.budget)),
        block(from(cpu, cpu.block)),
        rip(from(cpu, cpu.rip)),
        fetch_key(from(cpu, cpu.fetch_key)),
        attention(from(cpu, cpu.attention)),
        by_handler(from(cpu, cpu.counters.by_handler)),
        jump_cache(from(cpu, cpu.jump_cache)),
        tlb(from(cpu, cpu.tlb.entry)),
        return_top(from(cpu, cpu.return_top)),
        returns(from(cpu, cpu.returns)),
        leave(from(cpu, cpu.leave)),
        xmm(from(cpu, cpu.fpu.xmm)),
        upper(from(cpu, cpu.fpu.upper)),
        sse_blocked(from(cpu, cpu.fpu.sse_blocked)),
        xmm_here(from(cpu, cpu.fpu.xmm_here)),
        sse_unmasked(from(cpu, cpu.fpu.sse_unmasked)),
        avx_blocked(from(cpu, cpu.fpu.avx_blocked)),
        upper_here(from(cpu, cpu.fpu.upper_here)) {
    static_assert(offsetof(FpuState, xmm_here) == offsetof(FpuState, sse_blocked) + 1 &&
                  offsetof(FpuState, sse_unmasked) == offsetof(FpuState, sse_blocked) + 2 &&
                  offsetof(FpuState, always_false) == offsetof(FpuState, sse_blocked) + 3 &&
                  offsetof(FpuState, avx_blocked) == offsetof(FpuState, sse_blocked) + 4 &&
                  offsetof(FpuState, last_false) == offsetof(FpuState, sse_blocked) + 7);
  }

  Address at(i32 place) const { return {.base = host::cpu, .disp = place}; }
  Address of_gpr(u8 guest) const { return at(gpr + 8 * guest); }
  Address of_xmm(u8 n) const { return at(xmm + 16 * n); }
  Address of_upper(u8 n) const { return at(upper + 16 * n); }
  /// In translated code: the page of RIP, so that a branch within it changes nothing. Elsewhere it is the block's RIP,
  /// to which who leaves adds the offset that it knows.
  Address rip_page() const { return of_gpr(reg_rip_base); }

 private:
  template <class T>
  static i32 from(const Cpu& cpu, const T& field) {
    return static_cast<i32>(reinterpret_cast<const char*>(&field) - reinterpret_cast<const char*>(&cpu)) - cpu_bias;
  }
};

}  // namespace cloister::silicon
