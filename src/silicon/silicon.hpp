// The silicon's door: interface 1, what VMX offers a hypervisor (SDM vol. 3C, ch. 24-30), as plain C++ values.
//
// A Package is one processor package: its EPC with the EPCM, its keys, and the instructions that root mode runs on
// machine EPC. GuestMemory is one second-level translation (EPT) with the RAM behind it. A Vcpu is one logical
// processor in non-root mode. The hypervisor reads and writes register groups by value, maps memory, sets controls,
// runs, and gets an Exit. It never sees an EPCM entry, a SECS or a plaintext EPC page.
//
// Threads: a Vcpu belongs to the thread that calls run(); only kick() may be called from another one. Several Vcpus of
// one GuestMemory may run at the same time, each on its thread, or one after the other on one thread; others may be
// made and destroyed meanwhile. GuestMemory's functions may be called from any thread, while Vcpus run, too; but not
// from within a run() of its Vcpus: map and unmap wait until those that run have come to the end of their block.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/cpuid.hpp"
#include "arch/msr.hpp"
#include "arch/regs.hpp"
#include "arch/types.hpp"
#include "silicon/features.hpp"
#include "silicon/shared_memory.hpp"

namespace cloister::silicon {

using arch::CpuidRegs;
using arch::Gpa;
using arch::Gva;
using arch::Mfn;

// ------------------------------------------------------------------------------------------------ exits

/// Basic exit reasons (SDM vol. 3D, table C-1).
enum class ExitReason : u16 {
  exception_or_nmi = 0,
  external_interrupt = 1,  ///< kick() was called
  triple_fault = 2,
  interrupt_window = 7,
  nmi_window = 8,
  task_switch = 9,
  cpuid = 10,
  hlt = 12,
  invd = 13,
  vmcall = 18,
  cr_access = 28,
  io = 30,
  rdmsr = 31,
  wrmsr = 32,
  invalid_guest_state = 33,
  monitor_trap_flag = 37,
  pause = 40,  ///< a loop of PAUSE
  ept_violation = 48,
  preemption_timer = 52,  ///< the budget is used up
  wbinvd = 54,
  xsetbv = 55,
  encls = 60,
  enclv = 70,
  sgx_conflict = 71,
};

/// All basic exit reasons are below this.
inline constexpr std::size_t exit_reasons = static_cast<std::size_t>(ExitReason::sgx_conflict) + 1;

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

// ------------------------------------------------------------------------------------------------ registers

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

/// The legacy FXSAVE image (SDM vol. 1, table 10-2), 512 bytes.
using FxsaveImage = std::array<u8, 512>;

/// What the hypervisor asks of non-root mode (SDM vol. 3C, 25.6). CPUID, RDMSR and WRMSR outside `msr_passthrough`, IN,
/// OUT, HLT, VMCALL, INVD, WBINVD, XSETBV, MOV CR8 and triple faults always exit.
/// PAUSE-loop exiting (SDM vol. 3C, 26.1.3), in cycles of the TSC: PAUSEs at CPL 0 that follow one another within `gap`
/// are a loop, which exits when it has lasted longer than `window`.
struct PauseLoopExiting {
  u64 gap = 0, window = 0;
  bool operator==(const PauseLoopExiting&) const = default;
};

struct Controls {
  u32 exception_bitmap = 0;         ///< bit n: exception n exits
  bool interrupt_window = false;    ///< exit as soon as an external interrupt could be delivered
  bool nmi_window = false;          ///< exit as soon as an NMI could be delivered
  bool monitor_trap = false;        ///< exit after one instruction
  bool encls_exiting = false;       ///< consult encls_bitmap
  u64 encls_bitmap = 0;             ///< bit n: ENCLS leaf n exits; bit 63: leaves 63 and up
  bool enclv_exiting = false;       ///< enables ENCLV (else #UD), and consult enclv_bitmap
  u64 enclv_bitmap = 0;             ///< as encls_bitmap, for ENCLV
  bool epc_virtualization = false;  ///< EPC virtualization extensions: SGX_CONFLICT exits, virtual children
  std::optional<PauseLoopExiting> pause_loop_exiting;
  std::vector<u32> msr_passthrough;  ///< MSRs that the guest reads and writes in the silicon, without an exit
};

// ------------------------------------------------------------------------------------------------ time

/// The time stamp counter's frequency, in both clocks.
inline constexpr u64 tsc_hz = 1'000'000'000;

enum class ClockMode : u8 {
  host,           ///< the TSC follows the host's monotonic clock
  deterministic,  ///< the TSC counts retired instructions, and what skip_to() added; randomness is seeded
};

/// What the time stamp counters of several processors share, so that they agree: the host's clock from one moment on,
/// or the instructions that all of them have retired, one after the other on one thread.
class Time {
 public:
  Time();
  u64 elapsed() const;                      ///< host clock
  u64 counted() const { return counted_; }  ///< deterministic clock
  void advance(u64 cycles) { counted_ += cycles; }

 private:
  u64 start_;
  u64 counted_ = 0;
};

// ------------------------------------------------------------------------------------------------ memory

/// `partial`: the range to unmap cuts what one call mapped.
enum class MapError : u8 { misaligned, overlap, no_memory, partial };

/// One domain's second-level translation. RAM is the domain's own; EPC frames belong to a Package.
class GuestMemory {
 public:
  GuestMemory();
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  /// Maps fresh zeroed RAM, `bytes` a multiple of 4 KiB, at `base`.
  tl::expected<void, MapError> map_ram(Gpa base, u64 bytes);
  /// Maps `pages` machine EPC frames from `first` on, readable, writable and executable. They may lie in several
  /// sections; a frame that no section has is the abort page, and an operand outside EPC.
  tl::expected<void, MapError> map_epc(Gpa base, Mfn first, u64 pages);
  /// Removes whatever was mapped in [base, base + bytes): all of what each call mapped, or nothing is changed. When it
  /// returns no Vcpu knows a translation or code of it any more, and RAM has gone back to the host.
  tl::expected<void, MapError> unmap(Gpa base, u64 bytes);

  /// The devices' door. False, with nothing written, if part of the range is not RAM (an EPC page is not RAM).
  bool read(Gpa from, std::span<std::byte> to) const;
  bool write(Gpa to, std::span<const std::byte> from);
  /// The hypervisor's LOCK CMPXCHG of 4 or 8 bytes, aligned: stores `desired` if `expected` is there. What was there;
  /// nullopt: not RAM, not aligned, or of another size.
  std::optional<u64> compare_exchange(Gpa at, unsigned bytes, u64 expected, u64 desired);

  class Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// ------------------------------------------------------------------------------------------------ package

/// A range of machine EPC, by its machine frames.
struct EpcSection {
  Mfn first;
  u64 pages = 0;
};

/// Result of a leaf that root mode ran: a fault's vector, or RAX (0 or an SGX error code).
struct EnclsResult {
  std::optional<u8> fault;  ///< vector, if it faulted
  u64 rax = 0;
};

/// One processor package: EPC, EPCM, platform keys.
class Package {
 public:
  struct Config {
    /// The EPC: disjoint ranges of frames, in any order, less than 2^32 pages together. Empty: no SGX.
    std::vector<EpcSection> epc{};
    /// Where the sections' pages lie, one section after the other in the order above. Null: in private memory that ends
    /// with the package. A section for which there is no memory is not there, and CPUID does not list it. Whoever
    /// adopts the memory gives the same sections in the same order.
    EpcMemory::Pointer memory = nullptr;
    /// The machine's, which brings its boot number. Null: private ones of `boot`.
    MachineCounters::Pointer counters = nullptr;
    /// What every key of the platform is derived from; random at its first start, and kept secret.
    std::array<u8, 32> root_secret{};
    u64 boot = 0;                         ///< without `counters`: differs from one power-on to the next
    bool launch_control_writable = true;  ///< IA32_FEATURE_CONTROL bit 17 as firmware locked it
    /// IA32_SGXLEPUBKEYHASH0 to 3 of each processor as firmware left them. Without SGX_LC in `features` they are not
    /// there, and the hash is Intel's.
    std::array<u64, 4> launch_hash = arch::msr::intel_lepubkeyhash;
    /// Frames of the EPC whose EPCM entry the package cannot clear any more, as after a machine check: EREMOVE answers
    /// SGX_ENCLAVE_ACT, in root mode and for guests, and changes nothing. Whoever takes such a page back must withdraw
    /// it.
    std::vector<Mfn> faulty_frames{};
    Features features{};  ///< what the package offers, as far as it is implemented
  };
  explicit Package(Config config);
  ~Package();
  Package(const Package&) = delete;
  Package& operator=(const Package&) = delete;

  /// What CPUID returns in root mode: exactly what the package offers, with its EPC sections.
  CpuidRegs cpuid(u32 leaf, u32 subleaf) const;
  /// The same of a package that would be made so.
  static CpuidRegs cpuid(const Config& config, u32 leaf, u32 subleaf);

  /// ENCLS[EREMOVE] in root mode on one machine EPC frame. Any thread.
  EnclsResult eremove(Mfn frame);
  /// ENCLS[ECREATE] in root mode: makes a SECS of a machine EPC frame. SECINFO and the SECS are the caller's own
  /// copies, at aligned addresses, so that nobody changes what was looked at. ENCLV[ESETCONTEXT] then makes `context`
  /// its ENCLAVECONTEXT, by which a guest knows it, before anybody else can use the page. Any thread.
  EnclsResult ecreate(Mfn frame, const arch::Secinfo& secinfo, const arch::Secs& secs, Gpa context);

  class Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// ------------------------------------------------------------------------------------------------ processor

/// How often an instruction that is not implemented was executed.
struct Unimplemented {
  std::string what;  ///< the mnemonic: "vaddps"
  u64 count = 0;
  u64 first_rip = 0;
  /// Who has it says so by all of these bits of CPUID; none: every processor has it. Where the guest's CPUID lacks one,
  /// #UD is what the manual asks for.
  std::vector<arch::CpuidBit> offered_by{};
};

class Vcpu {
 public:
  struct Config {
    u32 apic_id = 0;
    ClockMode clock = ClockMode::host;
    u64 seed = 0;          ///< of RDRAND and RDSEED under the deterministic clock
    Time* time = nullptr;  ///< shared with others; null: its own
  };
  /// The package, the memory and the time must outlive the processor.
  Vcpu(Package& package, GuestMemory& memory, Config config);
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  /// Runs until an exit, at most `budget` instructions (then preemption_timer).
  Exit run(u64 budget);
  /// Makes run() return external_interrupt soon. Any thread, any time; not lost if run() is not executing.
  void kick() noexcept;

  GeneralRegs general() const;
  void set_general(const GeneralRegs& regs);
  SystemRegs system() const;
  /// Loads the system registers without the checks of guest software; flushes all translations.
  void set_system(const SystemRegs& regs);
  FxsaveImage fpu() const;
  void set_fpu(const FxsaveImage& image);

  /// An MSR that the silicon keeps. nullopt / false: no such MSR, or a value that it refuses (#GP for a guest).
  std::optional<u64> read_msr(u32 index) const;
  bool write_msr(u32 index, u64 value);
  /// XSETBV's effect after its exit; false: #GP.
  bool set_xcr0(u64 value);

  void set_controls(const Controls& controls);
  /// Delivers `event` through the IDT at the next run(), before any instruction.
  void inject(const Event& event);
  /// An external interrupt could be delivered now: IF set, no STI or MOV SS shadow, nothing waiting.
  bool interruptible() const;
  /// An NMI could be delivered now: none in service.
  bool nmi_interruptible() const;
  /// Ends the shadow of STI and MOV SS; after emulating an instruction.
  void clear_interrupt_shadow();

  /// The time, in tsc_hz: the time stamp counter without IA32_TSC_ADJUST, which is the guest's affair.
  u64 tsc() const;
  /// Deterministic clock: moves time on to `tsc` (an idle processor's timer is due). No effect if it is past.
  void skip_to(u64 tsc);
  /// Guest instructions retired since creation.
  u64 instructions() const;
  /// What raised #UD because it is not implemented.
  std::vector<Unimplemented> unimplemented() const;
  /// Called with the leaf and result of every ENCLS executed without an exit; empty: none. For traces.
  void set_encls_observer(std::function<void(u32 leaf, u64 rcx, EnclsResult)> observer);

  class Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::silicon
