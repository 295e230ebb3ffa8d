// Silicon descriptions: what processors with SGX offer, from the first generation on, as the CPUID leaves that real
// ones answered. What is written here is what was read there: what this silicon lacks of it is masked by whoever uses
// it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "policy/policy.hpp"

namespace cloister::policy {

struct Description {
  std::string_view name;  ///< as a configuration says it
  std::string_view brand;
  u32 signature;             ///< leaf 1 EAX: family, model, stepping
  u32 leaf1_ecx, leaf1_edx;  ///< without OSXSAVE, which follows CR4
  u32 leaf7_ebx, leaf7_ecx, leaf7_edx;
  u32 xsave_eax;                   ///< leaf 0DH, sub-leaf 1
  u32 extended_ecx, extended_edx;  ///< leaf 80000001H
  CpuidRegs capabilities;          ///< leaf 12H, sub-leaf 0
  CpuidRegs attributes;            ///< leaf 12H, sub-leaf 1
  u8 epc_property;                 ///< leaf 12H, sub-leaf 2, ECX[3:0]
};

std::span<const Description> descriptions();
const Description* find_description(std::string_view name);
/// What to say of a name that no description has: with the nearest one, of `others` too, and all that there are.
std::string unknown_description(std::string_view name, std::span<const std::string_view> others = {});

/// The leaves that a description is about. Its EPC section has neither address nor size.
CpuidTable leaves_of(const Description& description);

/// The processor's name for itself: leaves 80000002H to 80000004H, without blanks around it.
std::string brand_of(const CpuidTable& leaves);

/// What a processor's leaves say of SGX.
enum class SgxState : u8 {
  absent,        ///< no SGX
  switched_off,  ///< the processor has it, and firmware did not enable it: leaf 12H is zero
  unknown,       ///< the leaves end before they say
  offered,
};
SgxState sgx_state(const CpuidTable& leaves);

/// Feature names that are in one of two processors and not in the other.
struct FeatureNames {
  std::vector<std::string> sgx, other;
  bool operator==(const FeatureNames&) const = default;
};
struct Masking {
  FeatureNames masked;  ///< described, and not implemented
  FeatureNames hidden;  ///< implemented, and not described
  bool operator==(const Masking&) const = default;
};
/// Compares words of feature bits, the components that an enclave's XFRM may have, and the limits of its size.
Masking compare(const CpuidTable& described, const CpuidTable& implemented);

}  // namespace cloister::policy
