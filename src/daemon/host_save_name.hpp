// The names of files in STATE/saved (host_saves.hpp): whose it is, and how it goes on.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cloister::toolstack {

struct HostSave {
  std::string uuid{};   ///< of its definition
  bool paused = false;  ///< it was, and is to be
  bool operator==(const HostSave&) const = default;
};

/// UUID.running or UUID.paused.
std::string host_save_name(const HostSave& save);
std::optional<HostSave> read_host_save(std::string_view name);

}  // namespace cloister::toolstack
