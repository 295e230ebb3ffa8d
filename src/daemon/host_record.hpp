// What the daemon remembers of the host: which start of it this is, whether it goes down and what ran then, and what is
// still to be started since it came up. One file, STATE/host.json, always written whole.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "daemon/process_identity.hpp"

namespace cloister::toolstack {

/// Of 1, the first.
inline constexpr u32 host_record_version = 1;

/// Definitions are named by their uuid; one that is not there any more counts for nothing.
struct HostRecord {
  HostStart start{};                            ///< with an empty boot id: not known
  bool going_down = false;                      ///< so it was said, and not that it stays after all
  std::vector<std::string> ran{};               ///< when it was said that the host goes down
  std::vector<std::string> pending{};           ///< to be started
  std::map<std::string, std::string> failed{};  ///< why those could not be started
  /// Of users: when the one whose start came with a delay lets others follow; ms of the steady clock, which goes on
  /// from daemon to daemon.
  std::map<unsigned, u64> delayed{};
  bool operator==(const HostRecord&) const = default;
};

std::string write_host_record(const HostRecord& record);
tl::expected<HostRecord, std::string> read_host_record(std::string_view text);

}  // namespace cloister::toolstack
