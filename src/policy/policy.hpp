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

namespace cloister::policy {

using arch::CpuidReg;
using arch::CpuidRegs;

/// A CPUID policy: what each leaf and sub-leaf returns. A leaf without sub-leaves is kept as sub-leaf 0 and answers for
/// every one. Leaves beyond the maximum answer zeros.
class CpuidTable {
 public:
  void set(u32 leaf, u32 subleaf, const CpuidRegs& regs);
  /// What CPUID returns to a guest with this policy.
  CpuidRegs get(u32 leaf, u32 subleaf) const;
  /// All leaves with content, in order.
  const std::map<std::pair<u32, u32>, CpuidRegs>& leaves() const { return leaves_; }
  bool operator==(const CpuidTable&) const = default;

 private:
  std::map<std::pair<u32, u32>, CpuidRegs> leaves_;
};

/// A named feature bit.
struct Feature {
  std::string_view name;  ///< as libxl, libvirt and QEMU spell it: "sgx", "sgxlc", "sse4.1"
  u32 leaf, subleaf;
  CpuidReg reg;
  u8 bit;
};
/// Every feature that a configuration may name.
const std::vector<Feature>& features();
const Feature* find_feature(std::string_view name);
/// What to say of a name that is no feature's: with the nearest one that is.
std::string unknown_feature(std::string_view name);
/// The table has the feature's bit set.
bool has(const CpuidTable& table, const Feature& feature);

/// MSRs that depend on the domain rather than on the processor.
struct MsrPolicy {
  bool sgx = false;             ///< the domain has EPC
  bool launch_control = false;  ///< SGX_LC is exposed: IA32_FEATURE_CONTROL bit 17
  std::array<u64, 4> lepubkeyhash{arch::msr::intel_lepubkeyhash[0], arch::msr::intel_lepubkeyhash[1],
                                  arch::msr::intel_lepubkeyhash[2], arch::msr::intel_lepubkeyhash[3]};
  bool lepubkeyhash_writable = true;  ///< `lewr`
  /// IA32_FEATURE_CONTROL as the guest reads it; writes raise #GP since LOCK is set.
  u64 feature_control() const;
  bool operator==(const MsrPolicy&) const = default;
};

/// One override of libxl's string form: "sgxlc=0", "sse4.2=1"; k, x, s as libxl has them.
struct CpuidOverride {
  std::string feature;
  bool on = false;
  bool operator==(const CpuidOverride&) const = default;
};

struct CpuidRequest {
  u32 vcpus = 1;
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

}  // namespace cloister::policy
