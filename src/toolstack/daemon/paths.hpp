// Where the daemon keeps what must survive it (state) and what lives while the machine runs (run).
#pragma once

#include <filesystem>
#include <string>

#include "arch/types.hpp"

namespace cloister::toolstack {

struct DaemonPaths {
  std::filesystem::path state, run;

  std::filesystem::path records() const { return state / "domains"; }
  std::filesystem::path record(u32 id) const { return records() / (std::to_string(id) + ".json"); }
  std::filesystem::path machine_record() const { return state / "machine.json"; }
  std::filesystem::path api_socket() const { return run / "cloisterd.sock"; }
  std::filesystem::path lock() const { return run / "cloisterd.lock"; }
  std::filesystem::path sockets() const { return run / "domains"; }
  std::filesystem::path sockets_of(u32 id) const { return sockets() / std::to_string(id); }
  std::filesystem::path control(u32 id) const { return sockets_of(id) / "control.sock"; }
  std::filesystem::path console(u32 id) const { return sockets_of(id) / "console.sock"; }
};

}  // namespace cloister::toolstack
