// What is saved when the host goes down, and goes on when it is up (host_saves.hpp).
#include <unistd.h>

#include "daemon/domains.hpp"
#include "daemon/host_saves.hpp"

namespace cloister::toolstack {

namespace {

/// With whose rights the daemon's own files are made.
Owner daemon_owner() { return {.user = ::geteuid(), .group = ::getegid(), .groups = {}}; }

}  // namespace

Domains::Result Domains::save_for_host(const std::string& key) {
  std::string path;
  {
    const MutexLock held(lock_);
    const Pointer domain = lookup(key);
    if (domain == nullptr) return tl::unexpected(absent(key));
    const std::string& name = domain->record.name;
    if (definition_of(*domain) == nullptr)
      return tl::unexpected(
          ApiError{409, "'" + name + "' is not defined: nothing lets it go on when the host has come up"});
    path = host_saves_.path_of({.uuid = domain->record.uuid,
                                .paused = domain->page != nullptr && domain->page->state() == DomainState::paused});
  }
  auto begun = save_in(path, key, {.file = {}, .directory = {}, .owner = daemon_owner()});
  // Nobody has named this file.
  if (!begun && begun.error().status == 400) begun.error().status = 500;
  return begun;
}

Domains::Result Domains::go_on_from(const HostSave& save, bool paused) {
  std::string path;
  {
    const MutexLock held(lock_);
    path = host_saves_.path_of(save);
  }
  return restore_from(path, {.file = {}, .directory = {}, .owner = daemon_owner()}, paused || save.paused, save);
}

/// Of a domain that lives, or may, before its process is told that it may run: nothing else goes on from what it came
/// from.
void Domains::spend_arrival(Domain& domain) {
  const ArrivalRecord arrival = *domain.record.arrival;
  const auto save = read_host_save(arrival.saved);
  const bool fresh = save && host_saves_.find(save->uuid) == save;
  const bool spent = (!fresh || host_saves_.spend(arrival.saved)) && spend_ticket(arrival.ticket);
  if (fresh && spent) host_saves_.remove(arrival.saved);
  if (!spent) domain.record.arrival.reset();
}

tl::expected<void, ApiError> Domains::forget_host_save(const std::string& uuid) {
  const auto ticket = host_saves_.forget(uuid);
  if (!ticket) return tl::unexpected(ApiError{500, ticket.error()});
  (void)spend_ticket(*ticket);
  return {};
}

}  // namespace cloister::toolstack
