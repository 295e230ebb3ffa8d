// One processor package: its EPC with the EPCM, its keys, and the instructions that root mode runs on machine EPC. The
// hypervisor never sees an EPCM entry, a SECS or a plaintext EPC page.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <tl/expected.hpp>
#include <vector>

#include "arch/cpuid.hpp"
#include "arch/msr.hpp"
#include "arch/sgx.hpp"
#include "vmx/diagnostics.hpp"
#include "vmx/epc_memory.hpp"
#include "vmx/features.hpp"
#include "vmx/leaf_operands.hpp"
#include "vmx/memory.hpp"
#include "vmx/root_mover.hpp"
#include "vmx/vcpu.hpp"

namespace cloister::vmx {

using arch::CpuidRegs;

/// A range of machine EPC, by its machine frames.
struct EpcSection {
  Mfn first;
  u64 pages = 0;
  bool operator==(const EpcSection&) const = default;
};

/// What an implementation can do beyond what every one can. A hypervisor that needs more says so to its user.
struct Capabilities {
  bool deterministic_clock = false;  ///< ClockMode::deterministic
  bool exact_budget = false;         ///< run()'s budget is met to the instruction, not only by time
  bool epc_virtualization = false;   ///< SGX_CONFLICT exits, virtual children, the leaves of OSS
  bool epc_paging = false;           ///< EPC mapped page by page, accessed and dirty flags, leaves in root mode
};

class Package {
 public:
  struct Config {
    /// The EPC: disjoint ranges of frames, in any order, less than 2^32 pages together. Empty: no SGX.
    std::vector<EpcSection> epc{};
    /// Where the sections' pages lie, one section after the other in the order above. Null: in private memory that ends
    /// with the package. A section for which there is no memory is not there, and CPUID does not list it. Whoever
    /// adopts the memory gives the same sections in the same order.
    EpcMemory::Pointer memory = nullptr;
    /// The platform's, which bring its boot number. Null: private ones of `boot`.
    MachineCounters::Pointer counters = nullptr;
    /// What every key of the platform is derived from; random at its first start, and kept secret.
    std::array<u8, 32> root_secret{};
    /// What the key of evicted pages alone is derived from. Packages with one root verify each other's reports, and
    /// must not evict under one key unless they share `counters`, too. None: the root.
    std::optional<std::array<u8, 32>> paging_secret = std::nullopt;
    u64 boot = 0;  ///< without `counters`: differs from one power-on to the next
    /// CPUSVN as the package powered on: that of the microcode which firmware loaded, in no component beyond that of
    /// the microcode which runs. None: the same one runs.
    std::optional<arch::Bytes16> cpusvn = std::nullopt;
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

  Package() = default;
  virtual ~Package() = default;
  Package(const Package&) = delete;
  Package& operator=(const Package&) = delete;

  virtual Capabilities capabilities() const = 0;

  /// Memory for a domain whose processors are this package's.
  virtual std::unique_ptr<GuestMemory> make_memory() = 0;
  /// The package, the memory (one of its make_memory()) and the time must outlive the processor.
  virtual std::unique_ptr<Vcpu> make_vcpu(GuestMemory& memory, Vcpu::Config config) = 0;

  /// What CPUID returns in root mode: exactly what the package offers, with its EPC sections.
  virtual CpuidRegs cpuid(u32 leaf, u32 subleaf) const = 0;

  /// ENCLS and ENCLV in root mode, on machine EPC frames: EADD, EREMOVE, EPA, EAUG, EMODT, EBLOCK, ETRACK, EWB, ELDB,
  /// ELDU, and where the package has them ERDINFO, ETRACKC, ELDBC, ELDUC, EINCVIRTCHILD, EDECVIRTCHILD and ESETCONTEXT.
  /// All others are #GP(0). Any thread, while processors run: the page locks of the manual's concurrency tables decide,
  /// and what is busy is #GP(0) or SGX_EPC_PAGE_CONFLICT as it says there; nothing waits. Virtual children count for
  /// nothing, and ERDINFO tells of them and of a SECS's own context. A SECS that is loaded has its machine address for
  /// its context.
  virtual EnclsResult encls(arch::EnclsLeaf leaf, const LeafOperands& operands) = 0;
  virtual EnclsResult enclv(arch::EnclvLeaf leaf, const LeafOperands& operands) = 0;
  EnclsResult eremove(Mfn frame) { return encls(arch::EnclsLeaf::eremove, {.page = frame}); }
  /// ENCLS[ECREATE] in root mode: makes a SECS of a machine EPC frame. SECINFO and the SECS are the caller's own
  /// copies, at aligned addresses, so that nobody changes what was looked at. ENCLV[ESETCONTEXT] then makes `context`
  /// its ENCLAVECONTEXT, by which a guest knows it, before anybody else can use the page. Any thread.
  virtual EnclsResult ecreate(Mfn frame, const arch::Secinfo& secinfo, const arch::Secs& secs, Gpa context) = 0;

  /// The leaves that move enclaves to another machine; the package's own. Null: it has none.
  virtual RootMover* root_mover() { return nullptr; }

  /// The frames that may have an EPCM entry which is not free, and those that are faulty, in ascending order, disjoint;
  /// all others have never been used since their memory was made. Costs what these are, however large the EPC is. Any
  /// thread. What a hypervisor on hardware would note by itself for each frame that it gives away.
  virtual std::vector<EpcSection> used_epc() const = 0;
  /// The diagnostics door; needs the package no longer than during the call.
  virtual tl::expected<std::unique_ptr<diagnostics::Observer>, MemoryError> observe() const = 0;
};

}  // namespace cloister::vmx
