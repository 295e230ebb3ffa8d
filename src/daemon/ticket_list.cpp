#include "daemon/ticket_list.hpp"

namespace cloister::toolstack {

std::map<std::string, std::optional<Ticket>> read_tickets(const Records& records) {
  std::map<std::string, std::optional<Ticket>> all;
  const auto names = records.tickets();
  if (!names) return all;
  for (const std::string& name : *names) {
    const auto text = records.ticket(name);
    if (text && !*text) continue;  // spent meanwhile
    auto ticket = text ? read_ticket(**text) : tl::unexpected(text.error());
    all.emplace(name, ticket ? std::optional(std::move(*ticket)) : std::nullopt);
  }
  return all;
}

}  // namespace cloister::toolstack
