// CPU flags as operators speak of them: what each tool calls a feature, and for SGX's what it means, what it needs,
// which processors have it and what a guest loses without it (SDM vol. 3D, 36.7.2 and table 36-3).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.hpp"

namespace cloister::policy {

/// A tool with words of its own for CPU features; `cpuinfo` is Linux's /proc/cpuinfo.
enum class Tool : u8 { libvirt, qemu, xen, cpuinfo, cpuid };
inline constexpr Tool tools[] = {Tool::libvirt, Tool::qemu, Tool::xen, Tool::cpuinfo, Tool::cpuid};
std::string_view name_of(Tool tool);

enum class FlagKind : u8 {
  processor,     ///< leaf 7: the processor has SGX, launch control, attestation services
  instructions,  ///< leaf 12H, sub-leaf 0, EAX: leaf functions that ENCLS, ENCLU or ENCLV has
  exceptions,    ///< leaf 12H, sub-leaf 0, EBX: what SECS.MISCSELECT lets an enclave learn of exceptions
  attribute,     ///< leaf 12H, sub-leaf 1: a bit that ECREATE lets SECS.ATTRIBUTES have
};
/// A word or two for a person: "attribute".
std::string_view name_of(FlagKind kind);

/// An SGX feature, and what there is to say of it.
struct SgxFlag {
  std::string_view name;  ///< the first name of its bit in features()
  FlagKind kind;
  std::string_view libvirt, qemu, xen, cpuinfo, cpuid;  ///< spellings; empty: the tool has no word for it
  std::string_view meaning;                             ///< one sentence
  std::string_view without;                             ///< what a guest without it loses, one sentence
};
std::span<const SgxFlag> sgx_flags();
const SgxFlag* find_sgx_flag(std::string_view name);

/// What `tool` calls the feature; empty if it has no word for it. Of what `cpuid` prints, only SGX's lines are known.
std::string_view spelling(const Feature& feature, Tool tool);
/// The feature that `tool` calls so, else that any tool does. QEMU takes '_' for '-'. The result has the first name of
/// its bit.
const Feature* find_spelling(std::string_view word, Tool tool);

/// The names of what the feature needs directly (dependence.hpp).
std::vector<std::string_view> requirements(const Feature& feature);
/// The names of the silicon descriptions that have it, in their order.
std::vector<std::string_view> processors_with(const Feature& feature);

/// "leaf 0x12, sub-leaf 1, EAX bit 4"; without a sub-leaf where the leaf has none.
std::string place_of(const CpuidBit& bit);
/// libvirt's <feature> element, as in its x86_features.xml: three lines, two spaces before the first.
std::string libvirt_element(const Feature& feature);

}  // namespace cloister::policy
