// One message of the control protocol: a packet of a SOCK_SEQPACKET socket, with a JSON object as text, and descriptors
// beside it (unix(7), SCM_RIGHTS).
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"

namespace cloister::toolstack {

inline constexpr std::size_t longest_packet = 64 << 10, most_descriptors = 8;

struct Packet {
  nlohmann::json body;  ///< an object
  std::vector<Fd> descriptors;
};

enum class PacketError : u8 {
  closed,     ///< the other end has gone
  waits,      ///< nothing to read, or no room to write, within the socket's time limit
  malformed,  ///< too long, too many descriptors, or not a JSON object
};
const char* name_of(PacketError error);

/// Receives what comes next, waiting as long as the socket's mode and SO_RCVTIMEO say.
tl::expected<Packet, PacketError> receive_packet(int socket);
tl::expected<void, PacketError> send_packet(int socket, const nlohmann::json& body,
                                            std::span<const int> descriptors = {});

}  // namespace cloister::toolstack
