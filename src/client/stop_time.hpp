// How long it can take to stop domains, and the service manager's leave to take so long: cloister-domains.service gives
// it to whoever asks (systemd.service(5), TimeoutStopSec=; sd_notify(3), EXTEND_TIMEOUT_USEC).
#pragma once

#include <chrono>
#include <span>

#include "arch/types.hpp"

namespace cloister::toolstack::client {

/// What a domain can take that is stopped.
struct StopTime {
  u64 order = 0;
  std::chrono::seconds longest{};
  unsigned user = 0;  ///< its owner
};

/// Of domains that are stopped as stop_turns.hpp has it, so many of each user's at a time. `at_a_time`: 1 at least.
std::chrono::seconds longest_stop(std::span<const StopTime> domains, std::size_t at_a_time);

/// Cuts, where a user's domains could take longer than `most` together, the longest of their times to what does not,
/// but none to less than `least`.
void fit_into(std::span<StopTime> domains, std::size_t at_a_time, std::chrono::seconds most,
              std::chrono::seconds least);

/// Asks for so much time from now on; of no effect unless a service manager started this process.
void ask_for_time(std::chrono::seconds time);

}  // namespace cloister::toolstack::client
