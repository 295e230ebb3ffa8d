// The machine that domains are built on: packages with EPC sections, keys, launch control. It is what
// /etc/cloister/machine.toml says (docs/machine.md), else what the host has (host_epc.hpp), else a default.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/engine.hpp"
#include "machine/epc/accounts.hpp"
#include "machine/public_key.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack {

/// What firmware made of launch control (SDM vol. 3D, 37.7.1; the four cases of the Xen review).
enum class LaunchControl : u8 {
  none,        ///< no SGX_LC: no hash MSRs, and EINIT takes Intel's key or a token from Intel's launch enclave
  unwritable,  ///< SGX_LC, IA32_FEATURE_CONTROL bit 17 clear: the hash MSRs are Intel's and cannot be written
  locked,      ///< the same, with another hash
  unlocked,    ///< SGX_LC and bit 17: whoever may write MSRs chooses the hash
};
std::string_view name_of(LaunchControl state);

struct EpcSectionDescription {
  u64 base = 0;             ///< machine-physical address, bytes, page-aligned
  u64 bytes = 0;            ///< whole pages
  u32 node = 0;             ///< the machine's NUMA node
  std::vector<u64> faulty;  ///< pages, counted from the section's first, that EREMOVE cannot clear, to try what follows
  bool operator==(const EpcSectionDescription&) const = default;
};

struct PackageDescription {
  std::vector<EpcSectionDescription> epc;
  bool operator==(const PackageDescription&) const = default;
};

/// What a host has by itself: packages with sections; or none, with the reason (host_epc.hpp).
struct HostEpc {
  std::vector<PackageDescription> packages;
  bool sgx = false;     ///< firmware has enabled SGX on some processor
  std::string sgx_off;  ///< why there is none that could be used; empty: the sections are in `packages`
};

/// Whom something of a domain is left to, beside root (docs/access.md).
enum class LeftTo : u8 { owner, group };

/// What members of the API socket's group may do with domains that are not theirs.
struct AccessPolicy {
  LeftTo console = LeftTo::owner;
  LeftTo control = LeftTo::owner;
  bool operator==(const AccessPolicy&) const = default;
};

/// How much more EPC domains may see than there is, and how it is shared then.
struct EpcOvercommit {
  std::optional<double> ratio;  ///< what they see of a package together, by what it has, is no more; absent: any
  u64 reserve_mib = 0;          ///< of each package, which no domain is promised
  u64 chunk_mib = 1;            ///< frames move by so many
  bool operator==(const EpcOvercommit&) const = default;
};

/// Another machine that domains may go to and come from with their enclaves alive (docs/migration.md).
struct MovePeer {
  std::string name;  ///< for a person
  PublicKey key;
  std::string owner;  ///< the user whose a domain is that it brings by tls://; empty: it may bring none
  bool operator==(const MovePeer&) const = default;
};

/// A folder that other machines have, too, wherever it is mounted there, and call by the same name.
struct SharedStorage {
  std::string name;
  std::string folder;  ///< absolute, as it is written without ".", ".." and a slash at its end
  bool operator==(const SharedStorage&) const = default;
};

struct MachineDescription {
  std::vector<PackageDescription> packages;  ///< package n is element n; at least one
  KeySharing keys = KeySharing::shared;
  std::string silicon;                ///< the processor's description by name; empty: the default one
  Engine engine = Engine::automatic;  ///< of domains that do not say; automatic: the compiler, where there is one
  LaunchControl launch_control = LaunchControl::unlocked;
  std::optional<std::array<u64, 4>> launch_hash;  ///< IA32_SGXLEPUBKEYHASH0 to 3; with `locked`, always
  double memory_overcommit = 1;  ///< so many times the host's memory may be given to domains (domain_memory.hpp)
  EpcOvercommit overcommit;      ///< of EPC
  u32 start_at_once = 2;         ///< so many domains of each user's start together when the host comes up
  u32 stop_at_once = 2;          ///< and so many of each user's are stopped together when it goes down
  AccessPolicy access;           ///< who may do what with a domain
  std::vector<MovePeer> peers;   ///< each with another name and another key
  std::vector<SharedStorage> storages{};  ///< each with another name and another folder
  /// Of each package, which no domain has but for versions, while its enclaves leave or come (docs/migration.md).
  u64 versions_mib = 0;
  std::string origin;   ///< where this comes from, for a person: the file's name, "default", "this host's CPUID"
  std::string sgx_off;  ///< why the machine has no EPC; empty if it has some
  bool operator==(const MachineDescription&) const = default;
  /// Of each package's EPC, what no domain is promised.
  u64 epc_in_reserve_mib() const { return overcommit.reserve_mib + versions_mib; }
};

/// Reads and checks the text of a machine description. The error has the position; unknown keys are errors. A text
/// without packages leaves them to load_machine, and has none here.
tl::expected<MachineDescription, Diagnostic> read_machine(std::string_view text);

/// One package with 256 MiB of EPC.
MachineDescription default_machine();

/// Where the machine description is, unless somebody says otherwise.
inline constexpr const char* machine_file = "/etc/cloister/machine.toml";

/// The machine that `path` describes; without a path, that of machine_file, if it is there. Without a file, or one that
/// says nothing of packages, these are the host's with the EPC that `host` has, else the default's. The error is a line
/// for a person, with FILE:LINE:COLUMN where there is one.
tl::expected<MachineDescription, std::string> load_machine(const std::optional<std::string>& path,
                                                           const std::function<HostEpc()>& host);

/// The machine's EPC as the accounts take it.
MachineEpcSpec epc_spec(const MachineDescription& machine);

}  // namespace cloister::toolstack
