// The policy room's door: CPUID and MSR policies as values, and pure functions over them. No I/O, no processor.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "arch/cpuid.hpp"
#include "arch/msr.hpp"
#include "arch/types.hpp"
#include "policy/known.hpp"

namespace cloister::policy {

using arch::CpuidBit;
using arch::CpuidReg;
using arch::CpuidRegs;

/// What a processor offers: CPUID leaves, with a mask of the bits that are known. A policy is known wholly; a dump may
/// stop short, a description leaves registers out, and a tool may speak of single bits. A leaf without sub-leaves is
/// kept as sub-leaf 0 and answers for every one. Leaves beyond the maximum answer zeros.
class CpuidTable {
 public:
  struct Leaf {
    CpuidRegs regs, known;  ///< only bits of `regs` that are in `known` say anything; the others are 0
  };
  /// The leaf is known wholly.
  void set(u32 leaf, u32 subleaf, const CpuidRegs& regs);
  /// These bits of the leaf are known too.
  void learn(u32 leaf, u32 subleaf, const CpuidRegs& regs, const CpuidRegs& known);
  void learn(const CpuidBit& bit, bool on);
  /// What CPUID returns to a guest with this policy.
  CpuidRegs get(u32 leaf, u32 subleaf) const;
  /// What is known of a leaf: its entry, or zeros if what is there excludes the leaf, or else nothing.
  Leaf look(u32 leaf, u32 subleaf) const;
  Known says(const CpuidBit& bit) const;
  /// All leaves of which something is known, in order.
  const std::map<std::pair<u32, u32>, CpuidRegs>& leaves() const { return leaves_; }
  bool operator==(const CpuidTable&) const = default;

 private:
  std::map<std::pair<u32, u32>, CpuidRegs> leaves_;
  std::map<std::pair<u32, u32>, CpuidRegs> masks_;  ///< of the leaves that are not known wholly
};

/// A named feature bit. Names of one bit compare equal.
struct Feature : CpuidBit {
  std::string_view name;  ///< as libxl, libvirt and QEMU spell it: "sgx", "sgxlc", "sse4.1"
};
/// Every feature that a configuration may name.
const std::vector<Feature>& features();
const Feature* find_feature(std::string_view name);
/// What to say of a name that is no feature's: with the nearest one that is.
std::string unknown_feature(std::string_view name);
/// A guest with this policy finds the bit set.
bool has(const CpuidTable& table, const CpuidBit& bit);

/// The MSRs of SGX: a machine's as firmware left them, or those that a domain has instead.
struct MsrPolicy {
  bool sgx = false;             ///< there is EPC
  bool launch_control = false;  ///< SGX_LC: the hash MSRs are there
  /// IA32_SGXLEPUBKEYHASH0 to 3, or what EINIT takes for them.
  std::array<u64, 4> lepubkeyhash = arch::msr::intel_lepubkeyhash;
  bool lepubkeyhash_writable = true;  ///< with `launch_control`: IA32_FEATURE_CONTROL bit 17
  /// IA32_FEATURE_CONTROL as the guest reads it; writes raise #GP since LOCK is set.
  u64 feature_control() const;
  bool operator==(const MsrPolicy&) const = default;
};

/// What a configuration says of launch control.
struct LaunchRequest {
  std::optional<std::array<u64, 4>> hash;  ///< `lehash`
  std::optional<bool> writable;            ///< `lewr`
};
struct LaunchRefusal {
  enum class Asked : u8 { hash, writable } asked = Asked::hash;
  std::string message;
};
/// The MSRs of a domain with this CPUID policy on a machine with those. Where the machine's hash can be written, the
/// domain starts with Intel's, as a processor does after a reset, and otherwise has the machine's. The error says what
/// was asked for that the machine does not allow.
tl::expected<MsrPolicy, LaunchRefusal> domain_msrs(const MsrPolicy& machine, const CpuidTable& cpuid,
                                                   const LaunchRequest& request);

/// One override of libxl's string form: "sgxlc=0", "sse4.2=1"; k, x, s as libxl has them.
struct CpuidOverride {
  std::string feature;
  bool on = false;
  bool operator==(const CpuidOverride&) const = default;
};

struct CpuidRequest {
  u32 vcpus = 1;
  u32 packages = 1;            ///< that they are spread over (arch::ids_of_package)
  u32 apic_id = 0;             ///< of the vCPU that asks: leaves 1 and 0xB
  unsigned physical_bits = 0;  ///< 0: the processor's
  struct Epc {
    u64 base, bytes;
  };
  std::vector<Epc> epc;  ///< empty: no SGX
  std::vector<CpuidOverride> overrides;
};

/// The domain's policy: the processor's leaves (`raw`: what Package::cpuid returns), less what the domain does not
/// have, with the dependence rules (no SGX: leaf 0x12 zero and SGX_LC clear; XFRM follows XCR0). An error names a
/// feature that was asked for and that the processor does not have, or that is unknown.
tl::expected<CpuidTable, std::string> domain_cpuid(const std::function<CpuidRegs(u32, u32)>& raw,
                                                   const CpuidRequest& request);

// What a domain's policy is made from, in Xen's words. `raw` as for domain_cpuid.
/// Everything that the processor answers.
CpuidTable raw_cpuid(const std::function<CpuidRegs(u32, u32)>& raw);
/// The same without features that need one which is not there, such as one that firmware switched off.
CpuidTable host_cpuid(const std::function<CpuidRegs(u32, u32)>& raw);
/// The most that a domain could be given: all features, and the machine's EPC.
tl::expected<CpuidTable, std::string> maximum_cpuid(const std::function<CpuidRegs(u32, u32)>& raw, u32 vcpus);

}  // namespace cloister::policy
