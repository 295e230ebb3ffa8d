// What is known of a host's SGX, wherever it was read: from CPUID leaves, or from what a tool said of them.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/cpuid_dump.hpp"
#include "policy/descriptions.hpp"
#include "policy/policy.hpp"

namespace cloister::policy {

/// An EPC section as CPUID or a tool lists it.
struct EpcSectionView {
  std::optional<u64> base;  ///< machine-physical, bytes; tools other than CPUID do not say
  u64 bytes = 0;
  u8 property = 0;          ///< leaf 12H, ECX[3:0]; 0: not said
  std::optional<u32> node;  ///< NUMA
  bool operator==(const EpcSectionView&) const = default;
};

/// What only the host itself can say.
struct HostEnvironment {
  enum class Device : u8 { absent, refused, usable };
  Device enclave = Device::absent;                 ///< /dev/sgx_enclave
  Device vepc = Device::absent;                    ///< /dev/sgx_vepc
  Device provision = Device::absent;               ///< /dev/sgx_provision
  Device kvm = Device::absent;                     ///< /dev/kvm
  std::optional<u64> feature_control;              ///< IA32_FEATURE_CONTROL, where MSRs can be read
  std::optional<std::array<u64, 4>> lepubkeyhash;  ///< likewise
  std::map<u32, u64> node_bytes;                   ///< NUMA node to sgx_total_bytes
  bool operator==(const HostEnvironment&) const = default;
};

struct HostView {
  std::string name;                  ///< for a person: "this host", or the file
  std::string source;                ///< what it was read from: "CPUID", "cpuid -r", "libvirt domain capabilities", …
  std::vector<DumpedCpu> cpus;       ///< with the leaves that the source shows; may be empty
  CpuidTable named;                  ///< bits that the source told of by their names or one by one, not as leaves
  std::map<u32, u64> msrs;           ///< that the source shows, by index
  std::map<u32, u64> other_msrs;     ///< another value of the same, which another processor has
  std::string vendor;                ///< as libvirt's map spells it, where a tool says so; may be empty
  std::optional<std::string> model;  ///< the CPU model that a tool gave the host
  std::optional<std::vector<EpcSectionView>> epc;  ///< where the source lists sections other than by leaves
  std::string refusal;                             ///< in the source's words, why guests cannot have SGX; may be empty
  bool launch_locked = false;                      ///< the source says that the launch hash cannot be written
  bool without_kvm = false;                        ///< the source speaks of guests on QEMU's interpreter
  std::optional<HostEnvironment> environment;      ///< of this host only
};

/// Whether the host has a bit: by the leaves of its processors (one without it is enough for `no`), else by name. A
/// leaf that a dump does not show, though its maximum leaf reaches so far, is unknown. Where SGX is absent or switched
/// off, so is all that leaf 12H enumerates.
Known has(const HostView& host, const CpuidBit& bit);

/// The EPC sections, from the first processor's leaves or as the source lists them, never added up over processors;
/// nullopt: unknown. Sections that CPUID lists get their NUMA nodes by the bytes that the environment's nodes have.
std::optional<std::vector<EpcSectionView>> epc_of(const HostView& host);

/// What a section's property means: "confidentiality and integrity", …; empty where the manual does not say.
std::string property_words(u8 property);

/// What launch control is: the four cases of machine.toml, or what can be said without MSRs.
enum class LaunchCase : u8 {
  none,        ///< no SGX_LC
  unwritable,  ///< SGX_LC, the hash MSRs are Intel's and locked
  locked,      ///< SGX_LC, another hash, locked
  unlocked,    ///< SGX_LC and IA32_FEATURE_CONTROL bit 17
  unknown,     ///< SGX_LC, and the MSRs that tell were not read; or no leaf 7
};
std::string_view name_of(LaunchCase launch);
/// IA32_FEATURE_CONTROL, and the launch hash with all of its four registers, wherever they were read.
std::optional<u64> feature_control_of(const HostView& host);
std::optional<std::array<u64, 4>> lepubkeyhash_of(const HostView& host);
LaunchCase launch_of(const HostView& host);
/// The launch hash cannot be written, be it known or not: Linux then hides SGX_LC, and KVM has none to give.
bool is_launch_locked(const HostView& host);

/// As sgx_state() of leaves, for a host. `offered`: SGX1 is enumerated, whatever else the source leaves open.
SgxState state_of(const HostView& host);

/// Something to know about a host, and what to do about it.
struct Finding {
  std::string rule;     ///< a short name: "firmware-disabled", "no-vepc"
  std::string message;  ///< what was found
  std::string mend;     ///< what to do; may be empty
  bool blocks = false;  ///< as long as it is so, no guest can be given SGX
  bool operator==(const Finding&) const = default;
};

/// What a person wants to know of a host's SGX.
struct SgxReport {
  SgxState state = SgxState::unknown;
  LaunchCase launch = LaunchCase::unknown;
  std::optional<std::vector<EpcSectionView>> sections;
  u64 xfrm = 0;                                  ///< what SECS.XFRM may have; 0: unknown
  u8 log2_size_32 = 0, log2_size_64 = 0;         ///< the largest enclaves; 0: unknown
  std::vector<std::string> has, lacks, unknown;  ///< SGX features by name
  std::vector<Finding> findings;                 ///< why not more, most important first
  /// Guests can be given SGX, as far as this source tells: SGX is offered, there is EPC, and no finding blocks. If
  /// neither this nor a finding that blocks, the source does not tell.
  bool usable = false;
};
SgxReport sgx_report(const HostView& host);

/// The first finding that blocks; null: nothing is known to stand against guests with SGX.
const Finding* obstacle(const SgxReport& report);
/// Whether guests can have a feature: as has(), and none of SGX's where something stands against it. What a policy or a
/// guest's settings ask of a host is judged by this alone, as `probe` judges the host.
Known guests_have(const HostView& host, const SgxReport& report, const Feature& feature);

}  // namespace cloister::policy
