// What a domain's devices have done, by its page. A VMM may write anything there: all of it is only shown.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "daemon/domain.hpp"

namespace cloister::toolstack {

struct DiskFigures {
  std::string vdev;
  u64 reads = 0, writes = 0, flushes = 0, clears = 0;  ///< requests; clears: discards, and writes of zeros
  u64 read_bytes = 0, written_bytes = 0, errors = 0;
  /// Requests by how long they took, each in the first bucket that it fits into; and that all of them took.
  struct Bucket {
    std::optional<u64> at_most_us{};  ///< none: any longer time
    u64 requests = 0;
  };
  std::vector<Bucket> latency{};
  double seconds = 0;
};
struct InterfaceFigures {
  u64 received_frames = 0, received_bytes = 0, received_drops = 0;
  u64 sent_frames = 0, sent_bytes = 0, sent_drops = 0;
  std::vector<std::string> forwards{};  ///< as its configuration has them
};
struct VsockFigures {
  u64 open = 0, connections = 0, refused = 0, received_bytes = 0, sent_bytes = 0;
};
/// Of the devices that it has.
struct DeviceFigures {
  std::vector<DiskFigures> disks{};
  std::vector<InterfaceFigures> interfaces{};
  std::optional<VsockFigures> vsock{};
};

/// Nullopt: it has no such device, or an earlier version's VMM.
std::optional<DeviceFigures> devices_of(const Domain& domain);
nlohmann::json to_json(const DeviceFigures& devices);

}  // namespace cloister::toolstack
