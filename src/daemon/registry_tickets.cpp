// The registry's tickets, a file each. Tickets that an earlier daemon was about to write are nobody's: nothing had been
// exported.
#include "daemon/registry.hpp"
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

}  // namespace cloister::toolstack
