// What was saved goes on: as the domain that is defined, or else as a domain of who asks. Enclaves go on by their
// ticket (enclaves.cpp), and what the host's end has saved by its file (saving_for_host.cpp), once.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "arch/try.hpp"
#include "daemon/access.hpp"
#include "daemon/domains.hpp"
#include "daemon/saved_file.hpp"
#include "daemon/shape.hpp"
#include "host/log.hpp"
#include "host/memfd.hpp"
#include "protocol/saving.hpp"
#include "stream/reader.hpp"
#include "text/shown.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

/// In which a sealed stream's first two records end.
constexpr u64 longest_beginning = 3 << 20;

stream::Source source_of(std::span<const u8> bytes) {
  return [rest = bytes](std::span<u8> to) mutable -> stream::Result<std::size_t> {
    const auto part = rest.first(std::min(rest.size(), to.size()));
    std::ranges::copy(part, to.begin());
    rest = rest.subspan(part.size());
    return part.size();
  };
}

}  // namespace

Domains::Result Domains::restore(const FileRequest& request, bool paused) {
  const std::string path = TRY(absolute_path(request));
  return restore_from(path, request, paused);
}

Domains::Result Domains::restore_from(const std::string& path, const FileRequest& request, bool paused,
                                      const std::optional<HostSave>& save) {
  const auto beginning = opener_.read_beginning(request.owner, path, longest_beginning);
  if (!beginning) return tl::unexpected(unusable_file(path, beginning.error()));
  const auto id = stream::seal_id(*beginning);
  if (!id) return tl::unexpected(unusable_file(path, id.error()));
  SavingOrder order{.key = key_of_file(around_.secrets.wrap, *id), .id = *id};
  stream::Reader reader(stream::unsealed(source_of(*beginning), order.key));
  const auto first = reader.next();
  if (!first) return tl::unexpected(unusable_file(path, first.error()));
  auto saved = is_config(first->kind) ? stream::decode<SavedConfig>(first->body) : std::nullopt;
  if (!saved) return tl::unexpected(unusable_file(path, stream::Reader::wrong(*first, "expected config")));
  if (!read_uuid(saved->uuid)) return tl::unexpected(unusable_file(path, "its domain has no uuid"));
  if (!is_master(request.owner.user, {.user = saved->user}, ::geteuid()))
    return tl::unexpected(ApiError{403, fmt::format("user {} may not restore '{}', which is user {}'s",
                                                    request.owner.user, saved->name, saved->user)});
  const auto second = reader.next();
  if (!second) return tl::unexpected(unusable_file(path, second.error()));
  CreateRequest create{.config = std::move(saved->config),
                       .file = std::move(saved->file),
                       .directory = std::move(saved->directory),
                       .owner = request.owner,
                       .paused = paused,
                       .uuid = saved->uuid,
                       .host_features = host_features_of_shape(second->body)};
  std::optional<Definition> definition;
  {
    const MutexLock held(lock_);
    // Before it is refused for what that one has: disks, ports of the host.
    if (const Pointer same = living(saved->uuid))
      return tl::unexpected(ApiError{
          409, fmt::format("'{}': there is a domain '{}' already, of the same uuid: what is in the file goes on when "
                           "that one has ended",
                           cut_path(path), same->record.name)});
    if (const Defined* const found = definitions_.with_uuid(saved->uuid)) definition = found->definition;
  }
  // Nor another user's, who has defined one of its uuid when its own definition had gone.
  if (save && (saved->uuid != save->uuid || !definition || saved->user != definition->owner.user))
    return tl::unexpected(unusable_file(path, "it is not what its name says"));
  if (definition) {
    if (!is_master(request.owner.user, definition->owner, ::geteuid()))
      return tl::unexpected(ApiError{403, "'" + definition->name + "' is another user's"});
    if (definition->name != saved->name)
      return tl::unexpected(ApiError{
          409, fmt::format("'{}' is '{}' now: it goes on when it has its name again", saved->name, definition->name)});
    create.owner = definition->owner;
  }
  auto file = opener_.open(request.owner, path);
  if (!file) return tl::unexpected(unusable_file(path, file.error()));
  auto ticket = ticket_for(*id, first->kind, request, saved->uuid);
  if (!ticket && save && ticket.error().status == 409) {
    log(LogLevel::warning, "enclaves-lost", {{"domain", saved->name}, {"error", ticket.error().message}});
    ticket = std::nullopt;
  }
  if (!ticket) {
    ticket.error().message.insert(0, "'" + cut_path(path) + "': ");
    return tl::unexpected(ticket.error());
  }
  if (*ticket) order.session = (*ticket)->session;
  Fd memory = sealed_memfd("cloister-order", write_order(order));
  if (!memory) return tl::unexpected(ApiError{500, "no memory for what its process is told"});
  SavedFile from{.file = std::move(*file), .order = std::move(memory)};
  const std::string once = save ? host_save_name(*save) : "";
  if (save) from.arrival = {.paused = paused, .saved = once};
  if (*ticket) {
    from.arrival = {
        .ticket = ticket_name(*id), .token = text_of_token((*ticket)->token), .paused = paused, .saved = once};
    from.boot = (*ticket)->boot;
  }
  auto restored = create_domain(create, definition ? &*definition : nullptr, std::move(from));
  if (!restored && restored.error().file.empty()) restored.error().message.insert(0, "'" + cut_path(path) + "': ");
  if (restored && definition) settle(definition->uuid, "");
  if (restored) {
    restored->enclaves_kept = ticket->has_value();
    restored->from_snapshot = first->kind == stream::Kind::config_snapshot;
  }
  return restored;
}

/// With a token, if enclaves have come with it. What spends their ticket, and what it goes on from once, is the record
/// that says "running"; both are away before the word goes out. Where it has not gone out, it has not run: they come
/// back.
tl::expected<void, ApiError> Domains::say_run(Domain& domain, ControlClient& launching, bool paused) {
  nlohmann::json run{{"verb", "run"}, {"paused", paused}};
  std::optional<ArrivalRecord> arrival;
  std::string ticket;
  {
    const MutexLock held(lock_);
    arrival = domain.record.arrival;
    if (arrival && !arrival->saved.empty()) {
      if (auto spent = host_saves_.spend(arrival->saved); !spent) return tl::unexpected(ApiError{500, spent.error()});
    }
  }
  const auto comes_back = [&] {
    const MutexLock held(lock_);
    if (arrival && !arrival->saved.empty()) host_saves_.unspend(arrival->saved);
  };
  if (arrival && !arrival->ticket.empty()) {
    const auto text = around_.records->ticket(arrival->ticket);
    if (text && *text) ticket = **text;
    const auto spent =
        ticket.empty() ? tl::unexpected(std::string("its ticket is gone")) : spend_ticket(arrival->ticket);
    if (!spent) {
      comes_back();
      return tl::unexpected(ApiError{500, spent.error()});
    }
    run["token"] = arrival->token;
  }
  const auto started = launching.request(run, around_.patience.launch);
  if (started && arrival && !arrival->saved.empty()) {
    const MutexLock held(lock_);
    host_saves_.remove(arrival->saved);
  }
  if (started) return {};
  if (started.error().unsent || started.error().answered) comes_back();
  if (arrival && !ticket.empty() && started.error().unsent) {
    if (auto kept = around_.records->put_ticket(arrival->ticket, ticket); !kept)
      log(LogLevel::error, "state-not-kept", {{"ticket", arrival->ticket}, {"error", kept.error()}});
  }
  return tl::unexpected(ApiError{500, started.error().message});
}

}  // namespace cloister::toolstack
