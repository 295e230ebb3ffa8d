// The enclaves of domains that are saved, or go on: who may have them (tickets.hpp).
#include <unistd.h>

#include "daemon/access.hpp"
#include "daemon/domains.hpp"
#include "daemon/ticket_list.hpp"
#include "host/log.hpp"

namespace cloister::toolstack {

std::string Domains::why_enclaves_stay(const Domain& domain) {
  if (!domain.record.platform) return "it has no EPC";
  if (domain.record.boot == 0 || domain.page == nullptr || !domain.page->save_knows_enclaves())
    return "its process is an earlier version's, and does not know how";
  return "";
}

namespace {

TicketInfo shown(const std::string& name, const std::optional<Ticket>& ticket) {
  if (!ticket) return {.ticket = name};
  return {.ticket = name,
          .uuid = ticket->uuid,
          .name = ticket->name,
          .file = ticket->file,
          .made = ticket->made,
          .user = ticket->user};
}

}  // namespace

std::vector<TicketInfo> Domains::tickets(const Peer& who) const {
  std::vector<TicketInfo> theirs;
  for (const auto& [name, ticket] : read_tickets(*around_.records)) {
    TicketInfo one = shown(name, ticket);
    if (is_master(who.uid, {.user = one.user}, ::geteuid())) theirs.push_back(std::move(one));
  }
  return theirs;
}

tl::expected<TicketInfo, ApiError> Domains::erase_ticket(const std::string& name, const Peer& who) {
  const MutexLock held(lock_);
  const auto text = is_ticket_name(name) ? around_.records->ticket(name) : std::optional<std::string>();
  if (!text) return tl::unexpected(ApiError{500, text.error()});
  if (!*text) return tl::unexpected(ApiError{404, "no ticket '" + name + "'"});
  const auto ticket = read_ticket(**text);
  const TicketInfo last = shown(name, ticket ? std::optional(*ticket) : std::nullopt);
  if (!is_master(who.uid, {.user = last.user}, ::geteuid()))
    return tl::unexpected(ApiError{403, refusal(who, last.ticket, {.user = last.user}, Right::keys)});
  for (const auto& [id, domain] : table_) {
    const auto& [saving, arrival] = std::tie(domain->record.saving, domain->record.arrival);
    const bool comes = arrival && arrival->ticket == name && !domain->record.running;
    if ((saving && saving->ticket == name) || comes)
      return tl::unexpected(ApiError{409, "'" + domain->record.name + "' is being saved, or goes on, with it"});
  }
  if (auto spent = spend_ticket(name); !spent) return tl::unexpected(ApiError{500, spent.error()});
  log(LogLevel::info, "ticket-erased", {{"domain", last.name}, {"ticket", name}, {"uid", std::to_string(who.uid)}});
  return last;
}

tl::expected<void, std::string> Domains::spend_ticket(const std::string& name) const {
  if (name.empty()) return {};
  auto removed = around_.records->remove_ticket(name);
  if (!removed) log(LogLevel::error, "state-not-kept", {{"ticket", name}, {"error", removed.error()}});
  return removed;
}

/// Only when nobody else can have them any more.
bool Domains::take_enclaves_back(const DomainRecord& record, const SavingRecord& saving) {
  if (!spend_ticket(saving.ticket)) return false;
  const auto back = say(record, {{"verb", "take-back"}, {"token", saving.token}});
  if (!back) log(LogLevel::error, "enclaves-not-back", {{"domain", record.name}, {"error", back.error().message}});
  return back.has_value();
}

tl::expected<std::optional<Ticket>, ApiError> Domains::ticket_for(const stream::SealId& id, stream::Kind config,
                                                                  const FileRequest& request,
                                                                  const std::string& uuid) const {
  const bool alive = config == stream::Kind::config_alive;
  if (!alive && request.enclaves == Enclaves::keep)
    return tl::unexpected(ApiError{409, config == stream::Kind::config_snapshot
                                            ? "it is a snapshot, in which no enclaves are: they went on with the domain"
                                            : "it was saved without its enclaves"});
  if (!alive || request.enclaves == Enclaves::lose) return std::nullopt;
  const auto text = around_.records->ticket(ticket_name(id));
  if (!text) return tl::unexpected(ApiError{500, "its ticket: " + text.error()});
  if (!*text)
    return tl::unexpected(ApiError{409,
                                   "its ticket is spent: its enclaves have gone on from it, and do so once; the rest "
                                   "goes on without them (--enclaves=lose)"});
  auto ticket = read_ticket(**text);
  if (ticket && ticket->uuid != uuid) ticket = tl::unexpected(std::string("it is another domain's"));
  if (!ticket) return tl::unexpected(ApiError{500, "its ticket: " + ticket.error()});
  return std::move(*ticket);
}

}  // namespace cloister::toolstack
