// Where the daemon keeps what must survive it (state) and what lives while the machine runs (run). Files are opened by
// descriptors of these folders; the paths are what others are told.
#pragma once

#include <charconv>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "arch/types.hpp"
#include "machine/epc/accounts.hpp"

namespace cloister::toolstack {

struct DaemonPaths {
  std::filesystem::path state, run;

  std::filesystem::path records() const { return state / "domains"; }
  std::filesystem::path record(u32 id) const { return records() / (std::to_string(id) + ".json"); }
  std::filesystem::path definitions() const { return state / "definitions"; }
  std::filesystem::path definition(const std::string& uuid) const { return definitions() / (uuid + ".json"); }
  std::filesystem::path keys() const { return state / "keys"; }
  std::filesystem::path migrations() const { return state / "migrations"; }
  std::filesystem::path saved() const { return state / "saved"; }
  std::filesystem::path host_record() const { return state / "host.json"; }
  std::filesystem::path set_aside() const { return state / "set-aside"; }
  std::filesystem::path machine_record() const { return state / "machine.json"; }
  std::filesystem::path api_socket() const { return run / api_socket_name; }
  std::filesystem::path sockets() const { return run / "domains"; }
  std::filesystem::path sockets_of(u32 id) const { return sockets() / std::to_string(id); }
  std::filesystem::path control(u32 id) const { return sockets_of(id) / "control.sock"; }
  std::filesystem::path console(u32 id) const { return sockets_of(id) / "console.sock"; }
  std::filesystem::path vsock(u32 id) const { return sockets_of(id) / "vsock.sock"; }

  static constexpr const char* api_socket_name = "cloisterd.sock";
  /// In both folders: state has the records, the accounts of the EPC and the secret, run the sockets.
  static constexpr const char* lock_name = "cloisterd.lock";
};

/// A domain's number as it is in names: without other signs or zeros before it.
inline std::optional<u32> domain_number(std::string_view text) {
  u32 id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || text.front() == '0' || id > last_owner)
    return std::nullopt;
  return id;
}

/// In a domain's folder of sockets, while it is created: what becomes its VMM's root directory.
inline constexpr const char* nameless_folder = "root";

}  // namespace cloister::toolstack
