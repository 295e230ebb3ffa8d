// The registry's tickets, a file each.
#include <unistd.h>

#include "arch/try.hpp"
#include "daemon/registry.hpp"
#include "daemon/tickets.hpp"
#include "host/durable.hpp"
#include "host/own_folder.hpp"

namespace cloister::toolstack {

namespace {
std::string ticket_file(const std::string& name) { return name + ".json"; }
}  // namespace

tl::expected<std::optional<std::string>, std::string> Registry::ticket(const std::string& name) const {
  return read_own_text(tickets_.get(), ticket_file(name));
}

tl::expected<void, std::string> Registry::put_ticket(const std::string& name, const std::string& text) const {
  return write_durably(tickets_.get(), ticket_file(name), text);
}

tl::expected<void, std::string> Registry::remove_ticket(const std::string& name) const {
  return remove_durably(tickets_.get(), ticket_file(name));
}

tl::expected<std::vector<std::string>, std::string> Registry::tickets() const {
  if (!tickets_) return std::vector<std::string>{};
  constexpr std::string_view ending = ".json";
  std::vector<std::string> found;
  for (const std::string& name : TRY(names_in(tickets_.get()))) {
    if (!name.ends_with(ending)) continue;
    if (std::string ticket = name.substr(0, name.size() - ending.size()); is_ticket_name(ticket))
      found.push_back(std::move(ticket));
  }
  return found;
}

void Registry::tidy_tickets() const {
  const auto names = names_in(tickets_.get());
  if (!names) return;
  for (const std::string& name : *names) {
    if (unfinished_of(name).ends_with(".json")) ::unlinkat(tickets_.get(), name.c_str(), 0);
  }
}

}  // namespace cloister::toolstack
