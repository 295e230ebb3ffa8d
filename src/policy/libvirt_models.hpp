// CPU models by libvirt's names, as processors that a domain can have: what libvirt's map says of each model of Intel's
// with 64 bits, and of those of no vendor. No model has SGX: flags beside its name bring that, one by one, as QEMU
// gives a named model no more of leaf 12H than its flags say.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.hpp"

namespace cloister::policy {

struct LibvirtModel {
  std::string_view names;    ///< blanks between them: those that libvirt 11 has for its versions too
  u32 signature;             ///< leaf 1 EAX; 0: the map has none
  std::array<u32, 8> words;  ///< leaf 1 ECX, EDX; 7 EBX, ECX, EDX; 0DH.1 EAX; 80000001H ECX, EDX
  std::string_view beyond;   ///< other features, blanks between them
  std::string_view name() const { return names.substr(0, names.find(' ')); }
};

std::span<const LibvirtModel> libvirt_models();
const LibvirtModel* find_libvirt_model(std::string_view name);
/// The first of each model's.
std::vector<std::string_view> libvirt_model_names();

/// The leaves of such a processor, which calls itself `name`: the model's, and what the flags change, the last word
/// counting. Flags that are no bit of CPUID's change nothing. Enclaves may be as large as Ice Lake's, and have in their
/// XFRM what the features bring.
CpuidTable leaves_of(const LibvirtModel& model, std::string_view name, std::span<const CpuidOverride> flags);

/// The model's features that are in none of its words: of other leaves and of MSRs. Those of VMX' MSRs, which are
/// nothing without vmx, are left out, and ARAT, which the hypervisor's clock always has.
std::vector<std::string_view> beyond_words(const LibvirtModel& model);

}  // namespace cloister::policy
