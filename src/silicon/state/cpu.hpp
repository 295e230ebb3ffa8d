// The logical processor's state, as the handlers see it. One thread owns it.
#pragma once

#include <array>
#include <atomic>
#include <cstring>
#include <optional>

#include "arch/msr.hpp"
#include "arch/regs.hpp"
#include "silicon/state/enclave_state.hpp"
#include "silicon/state/engine_counters.hpp"
#include "silicon/state/flags.hpp"
#include "silicon/state/fpu_state.hpp"
#include "silicon/state/names.hpp"
#include "silicon/state/op.hpp"
#include "silicon/state/surroundings.hpp"
#include "silicon/state/tlb.hpp"

namespace cloister::silicon {

class Mmu;
class BlockCache;
class Engine;

/// An exception that an operation raises (SDM vol. 3A, ch. 6).
struct Fault {
  u8 vector = 0;
  bool has_error = false;
  u32 error = 0;
  u64 address = 0;  ///< #PF: becomes CR2 when it is delivered
};

/// Why control came back from the handlers to the run loop.
enum class Leave : u8 {
  jump,            ///< rip is set: look up the next block
  fault,           ///< `fault` is to be delivered at the instruction `at`
  exit,            ///< `exit` is a VM exit at the instruction `at`
  software_event,  ///< INT n, INT3, INTO or INT1 at `at`: deliver `event`
  alone,           ///< the instruction `at`, of which nothing is done, must be executed while other processors are held
  part,            ///< part of the repeated string instruction `at` is done; rip is its own
};

/// Where an RIP was found to lead last: entries of one linear page lie together, so that INVLPG can clear them. Each
/// RIP has two: kernels run the same code in many address spaces, and so do processes of one program.
struct JumpCacheEntry {
  u64 tag = ~u64{0};  ///< Cpu::jump_tag()
  Block* block = nullptr;
};
static_assert(sizeof(JumpCacheEntry) == 16);
inline constexpr unsigned fetch_key_shift = 48;
inline constexpr unsigned jump_cache_per_page = 256, jump_cache_pages = 256,
                          jump_cache_entries = jump_cache_pages * jump_cache_per_page;

/// A call that translated code has made, and expects to return.
struct Return {
  u64 tag = ~u64{0};  ///< of the RIP behind the call
  BlockCode* site = nullptr;
};
/// So many, in a ring: then their offsets are bytes, which wrap by themselves.
inline constexpr unsigned return_entries = 16;
static_assert(return_entries * sizeof(Return) == 256);

// In the order of use: what is hot comes first.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
struct Cpu {
  // ---- hot: registers. Indices reg_zero and reg_rip_base follow the sixteen, so that addresses need no special case.
  std::array<u64, 18> gpr{};
  std::array<u64, 7> seg_base{};  ///< es … gs, seg_none = 0; in 64-bit mode only fs and gs can be non-zero
  LazyFlags flags;
  u64 context = 0;  ///< of data accesses now: TLB tags' low 12 bits
  i64 budget = 0;   ///< instructions left until something is due
  Block* block = nullptr;
  u64 rip = 0;
  /// What a cached translation of RIP is valid for, above fetch_key_shift: the TLB's context of fetches, and the code
  /// mode. All else is 0.
  u64 fetch_key = 0;
  u8 return_top = 0;  ///< the last one's offset
  std::array<Return, return_entries> returns{};
  std::atomic<bool> attention{false};  ///< another thread wants something: leave for the run loop, which finds out what
  EngineCounters counters;
  std::array<JumpCacheEntry, jump_cache_entries> jump_cache{};
  Tlb tlb;

  std::atomic<bool> kicked{false};  ///< run() is to return

  // ---- RFLAGS' other bits
  bool df = false;                          ///< direction
  u64 system_flags = arch::rflags::fixed1;  ///< everything but the status flags and DF

  // ---- leaving the handlers
  Leave leave = Leave::jump;
  const Op* at = nullptr;    ///< the instruction that `leave` is about
  const Op* next = nullptr;  ///< builds without threading: what the loop runs next; null to leave
  Fault fault;
  Exit exit;
  Event event;
  bool no_step = false;  ///< this instruction ends in no single-step trap
  bool alone = false;    ///< the other processors are held

  // ---- modes
  std::array<Segment, arch::seg_count> seg{};
  Segment ldtr{}, tr{};
  DescriptorTable gdtr{}, idtr{};
  u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, cr8 = 0, xcr0 = 1, efer = 0;
  std::array<u64, 4> dr{};
  u64 dr6 = arch::dr6::fixed1, dr7 = arch::dr7::fixed1;
  u8 cpl = 0;
  bool code64 = false;         ///< CS.L and LMA: 64-bit mode
  bool shadow = false;         ///< of STI or MOV SS: the next instruction boundary takes no interrupt
  bool shadow_ss = false;      ///< it is MOV SS's: nor a debug exception
  bool window_wanted = false;  ///< the hypervisor waits for the interrupt window
  bool nmi_blocked = false;    ///< until IRET
  u64 pending_debug = 0;       ///< DR6 bits of a #DB that is due after this instruction

  FpuState fpu;
  EnclaveState enclave;

  // ---- model-specific registers that the silicon keeps
  u64 kernel_gs_base = 0, star = 0, lstar = 0, cstar = 0, fmask = 0, tsc_aux = 0;
  u64 tsc_adjust = 0;  ///< what RDTSC adds to the time (SDM vol. 3B, 18.17.3)
  u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0, pat = 0x0007'0406'0007'0406;
  std::array<u64, 4> lepubkeyhash = arch::msr::intel_lepubkeyhash;

  // ---- the rooms behind slow paths; owned by VcpuImpl
  Mmu* mmu = nullptr;
  BlockCache* blocks = nullptr;
  Engine* engine = nullptr;
  Surroundings* vcpu = nullptr;

  /// RIP of the instruction `op` of the running block.
  u64 rip_of(const Op* op) const { return wrap(gpr[reg_rip_base] + op->offset); }
  u64 rip_after(const Op* op) const { return wrap(gpr[reg_rip_base] + op->offset + op->length); }
  /// RIP as wide as the mode has it.
  u64 wrap(u64 ip) const { return code64 ? ip : static_cast<u32>(ip); }

  u64 rflags() const { return system_flags | flags.get() | (df ? arch::rflags::df : 0); }

  bool long_mode() const { return (efer & arch::efer::lma) != 0; }
  bool protected_mode() const { return (cr0 & arch::cr0::pe) != 0; }
  unsigned iopl() const { return static_cast<unsigned>(system_flags >> 12) & 3; }

  /// RIP and the key in one number. Two are the same only if both are: bits 63:48 of an RIP are all as bit 47, and a
  /// key leaves bit 63 clear.
  u64 jump_tag(u64 ip) const { return ip ^ fetch_key; }
  void forget_returns() { returns.fill({}); }
  /// The first of the two, which is the later one.
  JumpCacheEntry* jump_entries(u64 ip) {
    return &jump_cache[((ip >> arch::page_shift) % jump_cache_pages) * jump_cache_per_page +
                       ((ip ^ (ip >> 8)) % jump_cache_per_page & ~u64{1})];
  }

  /// Registers by size. Writing 32 bits clears the upper half; 8 and 16 bits keep it. 8-bit: `r` is a byte offset.
  template <class T>
  T reg(u8 r) const {
    if constexpr (sizeof(T) == 1) {
      return reinterpret_cast<const u8*>(gpr.data())[r];
    } else {
      return static_cast<T>(gpr[r]);
    }
  }
  template <class T>
  void set_reg(u8 r, T v) {
    if constexpr (sizeof(T) == 1) {
      reinterpret_cast<u8*>(gpr.data())[r] = v;
    } else if constexpr (sizeof(T) == 2) {
      gpr[r] = (gpr[r] & ~u64{0xffff}) | v;
    } else {
      gpr[r] = v;
    }
  }
};

}  // namespace cloister::silicon
