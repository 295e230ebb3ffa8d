// The longest delay between the starts of two domains of a user's with the host, in seconds: what the client's command
// line and the daemon both refuse more than.
#pragma once

#include "arch/types.hpp"

namespace cloister::toolstack {

inline constexpr u32 longest_start_delay = 3600;

}  // namespace cloister::toolstack
