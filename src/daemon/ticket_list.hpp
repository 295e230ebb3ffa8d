// The tickets that there are (tickets.hpp).
#pragma once

#include <map>
#include <optional>
#include <string>

#include "daemon/registry.hpp"
#include "daemon/tickets.hpp"

namespace cloister::toolstack {

/// A ticket, for those who look.
struct TicketInfo {
  std::string ticket{}, uuid{}, name{}, file{}, made{};
  unsigned user = 0;
};

/// A file for each is kept: what one user may have, and root and the daemon's own user.
inline constexpr std::size_t most_tickets_of_a_user = 1024, most_tickets_of_a_master = 4096;

/// All, by their names; nullopt: it cannot be understood.
std::map<std::string, std::optional<Ticket>> read_tickets(const Records& records);

}  // namespace cloister::toolstack
