// A domain's stream on its way from one VMM to another (docs/migration.md): in pieces, so that who carries it knows
// where it ends without understanding it. What arrives is the stream alone (stream/record.hpp), which knows its end.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "stream/sealing.hpp"
#include "vmx/root_mover.hpp"

namespace cloister::toolstack {

/// In front of each piece, as a number of four bytes in little-endian order, how many bytes it has; 0: no more come.
inline constexpr u32 longest_piece = 64 << 10;

/// How a move is known at its target: as many characters 0-9a-f as a VMM keeps (MoveCounts).
inline constexpr std::size_t move_session_length = 32;
constexpr bool is_move_session(std::string_view text) {
  if (text.size() != move_session_length) return false;
  for (const char c : text) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

struct MoveLimits {
  static constexpr u32 default_downtime_ms = 300, longest_downtime_ms = 3'600'000, most_rounds = 30;
  /// Rounds one after the other that leave no less than the best before them, by a tenth.
  static constexpr u32 most_in_vain = 4;
  u32 downtime_ms = default_downtime_ms;  ///< that its guest may stand still
  u32 bandwidth_mib = 0;                  ///< a second, while it runs; 0: all there is
};

/// What a VMM is told whose domain leaves, or comes, with its enclaves alive: the session in which their root leaves or
/// comes, and what its stream is sealed with (stream/sealing.hpp). Secret: it is handed over in memory that has no
/// name, and is sealed.
struct MoveOrder {
  vmx::MoveSession session{};
  stream::SealKey key{};
  stream::SealId id{};
};
std::vector<u8> write_move_order(const MoveOrder& order);
tl::expected<MoveOrder, std::string> read_move_order(std::span<const u8> bytes);

/// What a domain's keys come from that gives its enclaves up. Handed over likewise.
std::vector<u8> write_platform_secrets(const vmx::PlatformSecrets& secrets);
tl::expected<vmx::PlatformSecrets, std::string> read_platform_secrets(std::span<const u8> bytes);

}  // namespace cloister::toolstack
