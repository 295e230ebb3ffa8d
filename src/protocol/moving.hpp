// A domain's stream on its way from one VMM to another (docs/migration.md): in pieces, so that who carries it knows
// where it ends without understanding it. What arrives is the stream alone (stream/record.hpp), which knows its end.
#pragma once

#include <string>
#include <string_view>

#include "arch/types.hpp"

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
  u32 downtime_ms = default_downtime_ms;  ///< that its guest may stand still
  u32 bandwidth_mib = 0;                  ///< a second, while it runs; 0: all there is
};

}  // namespace cloister::toolstack
