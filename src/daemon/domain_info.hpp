// What is asked of the domains and what they answer (domains.hpp), as values.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/balloon.hpp"
#include "daemon/checked_request.hpp"
#include "daemon/definitions.hpp"
#include "daemon/device_figures.hpp"
#include "daemon/domain.hpp"
#include "daemon/key_ring.hpp"
#include "daemon/paged_epc.hpp"
#include "daemon/start_schedule.hpp"
#include "plan/domain_memory.hpp"

namespace cloister::toolstack {

/// Of a domain that could not be started since the host came up.
struct StartFailure {
  std::string why;
  bool retried = false;  ///< it is tried again; what is said is of the last time
};

/// Of a domain that is shut off, since the daemon started.
struct LastEnd {
  std::string when;  ///< RFC 3339, UTC; empty: it has not run
  std::string how;   ///< as in the log
};

/// How a domain is being saved, or was last.
struct SaveInfo {
  std::string file;
  bool going = false;
  u64 bytes = 0, most_bytes = 0;  ///< written so far, and at most; while it goes on
  std::string failed{};           ///< why it was not saved, when it is over
  bool enclaves = false;          ///< they are in the file, too
  bool snapshot = false;          ///< it goes on when all of it is in the file
};

/// How a domain that leaves does so, or did last.
struct MoveInfo {
  std::string session;
  std::string peer;  ///< where to, as who asked said; empty: an earlier daemon was told
  std::string phase;
  u32 round = 0;
  u64 bytes = 0, bytes_left = 0, bytes_a_second = 0, dirty_bytes_a_second = 0, pause_ms = 0;
  u64 epc_bytes_left = 0;   ///< of bytes_left
  std::string stood_still;  ///< why its guest was had stand still; empty: it was not yet
  std::string waits_for;    ///< it is to go on, and does not yet: why
  std::string failed;       ///< why it goes on
};

/// A domain as others see it.
struct DomainInfo {
  u32 id = 0, vcpus = 0;  ///< id 0: shut off
  std::string uuid, name;
  std::string state;  ///< "creating", "ending", "unresponsive", "shut off", or a name of DomainState
  u64 memory_mib = 0, epc_mib = 0, overhead_mib = 0;
  int pid = 0;                        ///< 0: not known
  std::string silicon;                ///< what its configuration says, else the machine's
  Engine engine = Engine::automatic;  ///< what runs its code; of one that is shut off, what is to
  std::string started, console, placement;
  std::string vsock{};  ///< where programs call the guest; empty: it has no vsock, or is shut off
  double cpu_seconds = 0;
  u64 instructions = 0;
  u32 restarts = 0;
  Owner owner;
  Grants grants;
  std::vector<EpcExtent> listed;           ///< the sections of its Package; those of the grants, or more
  std::vector<CpuSet> cpus;                ///< where each of its processors runs; an empty one: anywhere
  std::optional<PagedEpc> paged;           ///< of one that lives, and whose EPC is paged
  std::optional<DeviceFigures> devices{};  ///< of one that lives; none: it has none that count
  std::optional<Balloon> balloon;          ///< of one that lives and has EPC; none: not at hand
  std::optional<StartTerms> terms;         ///< of its definition; none: it is gone when it ends
  std::optional<SgxPlatform> platform;     ///< whose keys it has; none: it has no EPC, and no keys
  std::vector<std::string> differs;        ///< keys in which it is not what it is defined as; of one that lives
  StartFailure start_failed;               ///< since the host came up; empty: no such thing
  LastEnd last_end;                        ///< of one that is shut off, or was saved
  std::optional<SaveInfo> save;            ///< none: it was not to be saved
  std::optional<bool> enclaves_kept;       ///< of one that has just been restored: they go on
  bool saved_for_host = false;             ///< of one that is shut off: its next start lets it go on
  bool came = false;                       ///< of one that lives: it was restored, or comes from elsewhere
  bool from_snapshot = false;              ///< likewise: of that
  std::optional<MoveInfo> move;            ///< none: it was not to leave
  std::vector<std::string> warnings;       ///< about its configuration; after its creation only
  std::shared_ptr<const DomainPage> page;  ///< null: not at hand
  vmx::EpcMemory::Pointer memory;          ///< null: not at hand
};

/// Whether something may be done, by the entity-tag of the definition that it is about; null: there is none. Empty: it
/// may.
using TagCondition = std::function<bool(const std::string* tag)>;

struct DefineRequest {
  std::string name;          ///< which the text must have
  CreateRequest as{};        ///< by whom, and what
  TagCondition condition{};  ///< of the definition that it would replace
};
struct DefinitionInfo {
  Definition definition;
  bool made = false;  ///< there was none before
  std::vector<std::string> warnings{};
};
/// What is to be another than it is.
struct DomainChange {
  std::optional<std::string> name{};
  std::optional<Autostart> autostart{};  ///< this and the rest: of a definition alone
  std::optional<u32> order{}, delay_seconds{};
  TagCondition condition{};  ///< of its definition
};

/// A key, without what nobody is told.
struct KeyInfo {
  KeyName key;
  Owner owner;
  std::string made, last_use, domain;
  u32 power_ons = 0;
  std::string unread;                ///< why its file cannot be understood; empty: it can
  std::vector<std::string> used_by;  ///< domains that live and have it, or may
};

/// How a domain that lives shares EPC from now on.
struct EpcChange {
  std::optional<u64> min_mib{};
  std::optional<u32> weight{};
};

/// A domain that the host's going down ends.
struct Stopping {
  DomainInfo domain;
  u32 order = 0, shutdown_timeout = 0;  ///< seconds
  u64 save_seconds = 0;                 ///< that saving it may take, on a slow disk
  HostShutdown how = HostShutdown::shutdown;
};
struct HostDown {
  std::vector<Stopping> domains;  ///< in the order in which they are to be ended
  std::string not_noted;          ///< why it could not be written down what ran; empty: it is
};
struct DefinitionCounts {
  std::array<u64, 3> by_word{};  ///< by Autostart
  u64 shut_off = 0, failed = 0;  ///< failed: to be started since the host came up
};
struct AutostartInfo {
  bool going_down = false;                     ///< the host: nothing is started
  std::vector<PendingStart> pending;           ///< in their order
  std::map<std::string, StartFailure> failed;  ///< by name
  std::map<unsigned, u64> delayed;             ///< HostRecord's
};

/// The accounts of one package.
struct PackageEpc {
  u32 package = 0;
  std::vector<EpcSectionDescription> sections;
  EpcCount count;
  u64 largest_free_extent = 0;  ///< pages
};
/// The memory of the host, what of it domains may have, and what keeps them to it.
struct MemoryInfo {
  MemoryLimit limit;
  u64 held_mib = 0;
  std::vector<std::string> controllers;  ///< of the domains' control groups
  std::string no_groups;                 ///< why there are none
};
struct MachineEpcInfo {
  EpcCount count;
  u64 ended = 0;  ///< domains that were ended since their EPC had more of the host's memory than was theirs
  std::vector<PackageEpc> packages;
  std::vector<EpcExtent> withdrawn;
};

}  // namespace cloister::toolstack
