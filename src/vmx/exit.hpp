// Why a processor left non-root mode: basic exit reasons with their qualifications, as plain values (SDM vol. 3D,
// appendix C; vol. 3C, 28.2).
#pragma once

#include <cstddef>
#include <optional>

#include "arch/regs.hpp"
#include "arch/types.hpp"

namespace cloister::vmx {

using arch::Gpa;
using arch::Gva;

/// Basic exit reasons (SDM vol. 3D, table C-1): name, number, and what a hypervisor does with it (hypervisor/exits/).
#define CLOISTER_EXIT_REASONS(X)                              \
  X(exception_or_nmi, 0, exception)                           \
  X(external_interrupt, 1, resume) /* kick() was called */    \
  X(triple_fault, 2, triple_fault)                            \
  X(interrupt_window, 7, resume)                              \
  X(nmi_window, 8, resume)                                    \
  X(task_switch, 9, unexpected)                               \
  X(cpuid, 10, cpuid)                                         \
  X(hlt, 12, hlt)                                             \
  X(invd, 13, cache_invalidation)                             \
  X(vmcall, 18, vmcall)                                       \
  X(cr_access, 28, cr_access)                                 \
  X(io, 30, io)                                               \
  X(rdmsr, 31, rdmsr)                                         \
  X(wrmsr, 32, wrmsr)                                         \
  X(invalid_guest_state, 33, unexpected)                      \
  X(monitor_trap_flag, 37, resume)                            \
  X(pause, 40, pause) /* a loop of PAUSE */                   \
  X(ept_violation, 48, ept_violation)                         \
  X(preemption_timer, 52, resume) /* the budget is used up */ \
  X(wbinvd, 54, cache_invalidation)                           \
  X(xsetbv, 55, xsetbv)                                       \
  X(encls, 60, encls)                                         \
  X(enclv, 70, unexpected)                                    \
  X(sgx_conflict, 71, sgx_conflict)

enum class ExitReason : u16 {
#define CLOISTER_ENUMERATOR(name, number, handler) name = number,
  CLOISTER_EXIT_REASONS(CLOISTER_ENUMERATOR)
#undef CLOISTER_ENUMERATOR
};

/// All basic exit reasons are below this.
inline constexpr std::size_t exit_reasons = [] {
  std::size_t bound = 0;
#define CLOISTER_BOUND(name, number, handler) bound = number + 1 > bound ? number + 1 : bound;
  CLOISTER_EXIT_REASONS(CLOISTER_BOUND)
#undef CLOISTER_BOUND
  return bound;
}();

/// "hlt", "ept_violation", … for traces and dumps.
const char* name_of(ExitReason reason);

/// Interruption types (SDM vol. 3C, table 25-18).
enum class EventType : u8 {
  external = 0,
  nmi = 2,
  exception = 3,
  software_interrupt = 4,
  privileged_software = 5,
  software_exception = 6
};
constexpr bool is_value(EventType type) { return type <= EventType::software_exception && static_cast<u8>(type) != 1; }

/// An event to inject at entry, or one whose delivery an exit interrupted.
struct Event {
  u8 vector = 0;
  EventType type = EventType::external;
  bool has_error = false;
  u32 error = 0;
  u8 instruction_length = 0;  ///< bytes; of INT n, INT3, INTO (types 4 to 6)
  bool operator==(const Event&) const = default;
};

/// Exit qualification of an I/O instruction (SDM vol. 3C, table 28-5).
struct IoQualification {
  u16 port;
  u8 size;  ///< bytes: 1, 2 or 4
  bool in, string, rep;

  static constexpr IoQualification decode(u64 q) {
    return {static_cast<u16>(q >> 16), static_cast<u8>((q & 7) + 1), (q & 8) != 0, (q & 16) != 0, (q & 32) != 0};
  }
  constexpr u64 encode() const {
    return (u64{port} << 16) | (u64{rep} << 5) | (u64{string} << 4) | (u64{in} << 3) | (size - 1u);
  }
};

/// Exit qualification of a control-register access (SDM vol. 3C, table 28-3); only MOV to and from CR8 exits.
struct CrQualification {
  u8 cr;
  bool from_cr;  ///< MOV reg, CR8
  arch::Gpr gpr;
  static constexpr CrQualification decode(u64 q) {
    return {static_cast<u8>(q & 15), ((q >> 4) & 3) == 1, static_cast<arch::Gpr>((q >> 8) & 15)};
  }
  constexpr u64 encode() const { return cr | (u64{from_cr} << 4) | (u64{gpr} << 8); }
};

/// Exit qualification of an EPT violation (SDM vol. 3C, table 28-7).
struct EptQualification {
  bool read, write, fetch;
  bool linear_valid;  ///< Exit::linear holds the guest linear address
  bool translated;    ///< the access itself, not a page walk, missed
  static constexpr EptQualification decode(u64 q) {
    return {(q & 1) != 0, (q & 2) != 0, (q & 4) != 0, (q & 128) != 0, (q & 256) != 0};
  }
  constexpr u64 encode() const {
    return u64{read} | (u64{write} << 1) | (u64{fetch} << 2) | (u64{linear_valid} << 7) | (u64{translated} << 8);
  }
};

/// Why an SGX leaf could not go on in non-root mode with the EPC virtualization extensions (SDM vol. 3D, 38.3, the
/// leaves' tables of concurrency restrictions).
enum class SgxConflict : u16 {
  tracking_resource = 0,   ///< another leaf tracks the enclave
  tracking_reference = 1,  ///< the previous tracking cycle is incomplete
  page_exception = 2,      ///< the page is in use; without the extensions #GP(0)
  page_error = 3,          ///< the page is in use; without the extensions SGX_EPC_PAGE_CONFLICT
};

/// Exit qualification of SGX_CONFLICT. Exit::physical and linear are the page's; for tracking, the SECS's
/// ENCLAVECONTEXT and 0.
struct SgxConflictQualification {
  SgxConflict code;
  u16 error;  ///< what RAX would be without the extensions, if the leaf would not fault
  static constexpr SgxConflictQualification decode(u64 q) {
    return {static_cast<SgxConflict>(q & 0xffff), static_cast<u16>(q >> 16)};
  }
  constexpr u64 encode() const { return static_cast<u64>(code) | (u64{error} << 16); }
};

/// Why run() returned. RIP is that of the instruction that exited; to complete it, the hypervisor adds
/// instruction_length.
struct Exit {
  ExitReason reason = ExitReason::preemption_timer;
  bool enclave = false;            ///< bit 27: the processor was in enclave mode
  u64 qualification = 0;           ///< as the manual's table for the reason says
  Gva linear{};                    ///< guest linear address (EPT violation; address of string I/O's operand)
  Gpa physical{};                  ///< guest-physical address (EPT violation)
  u8 instruction_length = 0;       ///< bytes
  Event interruption{};            ///< exception_or_nmi: the exception that was intercepted
  std::optional<Event> vectoring;  ///< the event during whose delivery the exit happened: inject it again
};

}  // namespace cloister::vmx
