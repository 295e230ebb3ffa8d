// Who waits for whom, and how long: cloisterd for the process of a domain, and a client for cloisterd. A client that is
// to know a daemon that has gone silent from a domain that has must outlast the daemon, which waits for the domain.
#pragma once

#include <algorithm>
#include <chrono>

namespace cloister::toolstack {

/// cloisterd, for a domain's process: to be reached, as long again to reply, and to end when it is killed.
inline constexpr std::chrono::milliseconds domain_reply{5'000}, domain_death{20'000};

/// A client, for cloisterd, which itself needs a moment.
inline constexpr std::chrono::milliseconds daemon_answer =
    std::max(2 * domain_reply, domain_death) + std::chrono::seconds(3);

}  // namespace cloister::toolstack
