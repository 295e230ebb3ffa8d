// The machine's EPC as a resource, in words: what a domain asks for, what it gets, what it is told if there is too
// little. The accounts themselves are machine_epc.hpp.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "vmx/package.hpp"

namespace cloister::toolstack {

/// Frames in a row.
using EpcExtent = vmx::EpcSection;

/// Whom the accounts know as the holder of frames: a domain, by a number from 1 to last_owner (Xen's range of domids).
enum class EpcOwner : u16 {};
inline constexpr u16 last_owner = 0x7fef;

/// A section of the machine, as CPUID 12H or the machine description enumerates it.
struct MachineSection {
  EpcExtent frames;
  u32 package = 0;
  u32 node = 0;  ///< the machine's NUMA node
};

/// Whether enclaves' pages of all packages are under the same keys (multi-package servers), or each package has its
/// own.
enum class KeySharing : u8 { shared, separate };

struct MachineEpcSpec {
  std::vector<MachineSection> sections;  ///< in any order; they must not overlap
  u32 packages = 1;                      ///< numbered from 0; a package may have no section
  KeySharing keys = KeySharing::shared;
};

/// One virtual section of a domain. Without a package, the accounts choose.
struct EpcRequest {
  u64 pages = 0;  ///< 4 KiB each, at least one
  std::optional<u32> package;
};

/// What one request got: frames of one package, in one extent if there was one, else in several.
struct EpcGrant {
  u32 package = 0;
  std::vector<EpcExtent> extents;  ///< as many pages as asked for
  bool operator==(const EpcGrant&) const = default;
};

struct EpcAllocation {
  std::vector<EpcGrant> grants;  ///< one for each request, in order
  std::string reason;            ///< why these packages, a sentence for a person, without a full stop
};

struct EpcHolder {
  EpcOwner owner{};
  u64 pages = 0;
  bool operator==(const EpcHolder&) const = default;
};

/// The pages of a package: total = free + granted + withdrawn.
struct EpcCount {
  u64 total = 0, free = 0, granted = 0, withdrawn = 0;
  bool operator==(const EpcCount&) const = default;
};

/// Why a request could not be met. Nothing was changed.
struct EpcRefusal {
  enum class Why : u8 {
    shortage,         ///< `packages` says where everything is
    separate_keys,    ///< several packages were asked for, and their keys are unrelated
    unknown_package,  ///< the machine has no such package
    malformed,        ///< a section of no pages, or an owner out of range
  };
  struct Package {
    u32 package = 0;
    EpcCount count;
    std::vector<EpcHolder> holders;  ///< largest first
  };
  Why why = Why::shortage;
  std::string message;            ///< what was asked and what stands against it, without a full stop
  std::vector<Package> packages;  ///< all of the machine, if there is a shortage
};

/// The whole of it for a person: the message, then what each package has free and who holds the rest. `name_of` names
/// a domain.
std::string describe(const EpcRefusal& refusal, const std::function<std::string(EpcOwner)>& name_of);

/// "96 MiB", or "388 KiB" where it is not whole MiB.
std::string size_text(u64 pages);

}  // namespace cloister::toolstack
