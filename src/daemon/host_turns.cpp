// The host goes down and comes up again: what ran, and what is started since.
//
// The host counts as newly started when the record says another start of it (process_identity.hpp), and by nothing
// else. What is to be started is written down together with the new start, before any record of a domain that died with
// the host is removed: a daemon that dies meanwhile leaves it to the next one. If it cannot be written, no such record
// is removed either.
#include <algorithm>
#include <set>
#include <tuple>

#include "arch/try.hpp"
#include "daemon/domains.hpp"
#include "host/log.hpp"
#include "text/shown.hpp"
#include "text/utf8.hpp"

namespace cloister::toolstack {

namespace {

/// Of a slow disk.
constexpr u64 least_save_seconds = 10, saved_mib_a_second = 20;

PendingStart pending_start(const Defined& defined) {
  return {.uuid = defined.definition.uuid,
          .name = defined.definition.name,
          .order = defined.definition.order,
          .delay_seconds = defined.definition.delay_seconds,
          .restart_limit = defined.config.restart_limit,
          .restart_window = defined.config.restart_window,
          .user = defined.definition.owner.user};
}

/// A reason quotes its owner's text, is shown to others, and is written with all others whenever one changes: one line,
/// and not longer than that.
std::string as_kept(const std::string& failure) {
  constexpr std::size_t longest = 1024;
  const std::string text = printable(failure);
  return text.size() <= longest ? text : valid_utf8(std::string_view(text).substr(0, longest)) + "…";
}

}  // namespace

tl::expected<void, std::string> Domains::keep(HostRecord record) {
  if (record == host_record_ && host_kept_) return {};
  if (host_sealed_) {
    host_record_ = std::move(record);
    return {};
  }
  TRY(around_.records->put(record));
  host_record_ = std::move(record);
  host_kept_ = true;
  host_late_.clear();
  return {};
}

tl::expected<void, std::string> Domains::keep_anyway(HostRecord record) {
  const HostRecord wanted = record;
  auto kept = keep(std::move(record));
  if (!kept) {
    host_record_ = wanted;
    host_kept_ = false;
  }
  return kept;
}

void Domains::host_turns(const RecordsRead& records) {
  auto before = around_.records->host();
  if (!before) {
    // A newer daemon's, perhaps: it is not written over.
    const auto moved = around_.records->set_aside_host();
    log(LogLevel::error, "host-record-unread",
        {{"file", moved ? *moved : paths_.host_record().string()}, {"error", before.error()}});
    host_sealed_ = !moved;
    host_kept_ = !host_sealed_;
    before = std::optional<HostRecord>();
  }
  host_record_ = before->value_or(HostRecord());
  const auto now = host_start();
  if (!now) return;
  if (same_start(*now, host_record_.start)) {
    // An earlier version's record knows less of it.
    HostRecord next = host_record_;
    next.start = joined(*now, host_record_.start);
    // The daemon before this one may not have come to write down what it had started.
    const auto started = [&](const auto& record) CLOISTER_REQUIRES(lock_) {
      if (!record.running || !record.persistent) return;
      // What it was to go on from is there: it has not.
      if constexpr (requires { record.arrival; }) {
        if (record.arrival && !record.arrival->saved.empty() && host_saves_.has(record.uuid)) return;
      }
      std::erase(next.pending, record.uuid);
      next.failed.erase(record.uuid);
    };
    std::ranges::for_each(records.domains, started);
    std::ranges::for_each(records.unread, started);
    if (auto kept = keep(std::move(next)); !kept)
      log(LogLevel::error, "state-not-kept", {{"file", paths_.host_record()}, {"error", kept.error()}});
    return;
  }
  HostRecord next{.start = *now};
  const bool known = !host_record_.start.boot.empty();
  host_is_new_ = known;
  if (known) {
    std::set<std::string> ran(host_record_.ran.begin(), host_record_.ran.end());
    ran.insert(host_record_.pending.begin(), host_record_.pending.end());
    std::set<std::string> saved;
    const auto note = [&](const auto& record) {
      if constexpr (requires { record.saving; }) {
        if (record.saving && is_host_save(paths_.saved(), *record.saving)) saved.insert(record.uuid);
      }
      // One that may run elsewhere by now is not started for having run here.
      if constexpr (requires { record.move; }) {
        if (record.move) return;
      }
      if (record.running && record.persistent) ran.insert(record.uuid);
    };
    std::ranges::for_each(records.domains, note);
    std::ranges::for_each(records.unread, note);
    for (const auto& [uuid, defined] : definitions_) {
      const Autostart word = defined.definition.autostart;
      if (defined.definition.in_doubt) continue;
      const bool goes_on = host_saves_.has(uuid) || saved.contains(uuid);
      if (goes_on || word == Autostart::on || (word == Autostart::last && ran.contains(uuid)))
        next.pending.push_back(uuid);
    }
  }
  log(LogLevel::info, known ? "host-started" : "host-first-seen",
      {{"boot", now->boot}, {"to_start", std::to_string(next.pending.size())}});
  if (auto kept = keep_anyway(std::move(next)); !kept)
    log(LogLevel::error, "state-not-kept", {{"file", paths_.host_record()}, {"error", kept.error()}});
}

HostDown Domains::host_down() {
  const MutexLock held(lock_);
  // Asked again, it is what ran the first time, too: some have ended meanwhile.
  HostRecord next = host_record_;
  next.going_down = true;
  HostDown down;
  for (const auto& [id, domain] : table_) {
    if (domain->life.over()) continue;
    Stopping one{.domain = info(*domain),
                 .order = 0,
                 .shutdown_timeout = domain->config.shutdown_timeout,
                 .how = domain->config.on_host_shutdown};
    one.save_seconds = least_save_seconds + (one.domain.memory_mib + one.domain.epc_mib) / saved_mib_a_second;
    if (one.domain.terms) {
      one.order = one.domain.terms->order;
      if (std::ranges::find(next.ran, one.domain.uuid) == next.ran.end()) next.ran.push_back(one.domain.uuid);
    }
    down.domains.push_back(std::move(one));
  }
  // Domains are better off with their power buttons pressed than on a host that ends without, so they are ended even if
  // nothing can be written down.
  if (auto kept = keep_anyway(std::move(next)); !kept) down.not_noted = kept.error();
  if (host_sealed_) down.not_noted = paths_.host_record().string() + " cannot be understood, and stays as it is";
  // The reverse of their order, and the youngest first.
  std::ranges::sort(down.domains, [](const Stopping& a, const Stopping& b) {
    return std::pair(a.order, a.domain.id) > std::pair(b.order, b.domain.id);
  });
  return down;
}

tl::expected<std::vector<std::string>, ApiError> Domains::host_up() {
  const MutexLock held(lock_);
  HostRecord next = host_record_;
  next.going_down = false;
  next.ran.clear();
  if (auto kept = keep_anyway(std::move(next)); !kept)
    return tl::unexpected(
        ApiError{500, "domains are started again, but a daemon that starts anew does not know that: " + kept.error()});
  std::vector<PendingStart> saved;
  for (const auto& [uuid, name] : host_saves_) {
    // Those that are still to be started this daemon starts, in their order.
    const Defined* const defined = definitions_.with_uuid(uuid);
    if (defined != nullptr && !pending(defined->definition)) saved.push_back(pending_start(*defined));
  }
  std::ranges::sort(saved, [](const PendingStart& a, const PendingStart& b) {
    return std::tie(a.order, a.name) < std::tie(b.order, b.name);
  });
  std::vector<std::string> uuids;
  for (const PendingStart& one : saved) uuids.push_back(one.uuid);
  return uuids;
}

bool Domains::going_down() const {
  const MutexLock held(lock_);
  return host_record_.going_down;
}

bool Domains::pending(const Definition& definition) const {
  return (definition.autostart != Autostart::off || host_saves_.has(definition.uuid)) &&
         std::ranges::find(host_record_.pending, definition.uuid) != host_record_.pending.end();
}

bool Domains::is_pending(const std::string& uuid) const {
  const MutexLock held(lock_);
  const Defined* const defined = definitions_.with_uuid(uuid);
  return defined != nullptr && pending(defined->definition);
}

StartFailure Domains::start_failure(const Definition& definition) const {
  if (const auto found = host_record_.failed.find(definition.uuid); found != host_record_.failed.end())
    return {.why = found->second};
  const auto found = not_yet_.find(definition.uuid);
  if (found == not_yet_.end() || !pending(definition)) return {};
  return {.why = found->second, .retried = true};
}

AutostartInfo Domains::autostart() const {
  const MutexLock held(lock_);
  AutostartInfo all;
  all.going_down = host_record_.going_down;
  all.delayed = host_record_.delayed;
  for (const std::string& uuid : host_record_.pending) {
    const Defined* const defined = definitions_.with_uuid(uuid);
    if (defined != nullptr && (defined->definition.autostart != Autostart::off || host_saves_.has(uuid)))
      all.pending.push_back(pending_start(*defined));
  }
  std::ranges::sort(all.pending, [](const PendingStart& a, const PendingStart& b) {
    return std::tie(a.order, a.name) < std::tie(b.order, b.name);
  });
  for (const auto& [uuid, defined] : definitions_) {
    if (StartFailure failure = start_failure(defined.definition); !failure.why.empty())
      all.failed.emplace(defined.definition.name, std::move(failure));
  }
  return all;
}

void Domains::delay(unsigned user, Restarts::Clock::time_point until) {
  const MutexLock held(lock_);
  HostRecord next = host_record_;
  next.delayed[user] = static_cast<u64>(std::chrono::ceil<std::chrono::milliseconds>(until.time_since_epoch()).count());
  if (auto kept = keep_anyway(std::move(next)); !kept)
    log(LogLevel::error, "state-not-kept", {{"file", paths_.host_record()}, {"error", kept.error()}});
}

void Domains::settle(const std::string& uuid, const std::string& failure) {
  const MutexLock held(lock_);
  settled(uuid, failure);
}

void Domains::not_yet(const std::string& uuid, const std::string& failure) {
  const MutexLock held(lock_);
  if (definitions_.with_uuid(uuid) != nullptr) not_yet_.insert_or_assign(uuid, as_kept(failure));
}

/// All that were started or given up are one file, which would be written for each of them. So it is written for many
/// at a time: one that was started has a record of its own until it ends, by which the next daemon knows, and one that
/// was given up is tried again.
void Domains::settled(const std::string& uuid, const std::string& failure) {
  constexpr std::size_t most_late = 64;
  not_yet_.erase(uuid);
  const bool was = std::erase(host_record_.pending, uuid) + host_record_.failed.erase(uuid) != 0;
  if (!failure.empty()) host_record_.failed.emplace(uuid, as_kept(failure));
  if (!was && failure.empty()) return;
  host_late_.insert(uuid);
  const bool ended = failure.empty() && living(uuid) == nullptr;  // and its record is gone
  if (ended || host_record_.pending.empty() || host_late_.size() >= most_late) keep_late();
}

void Domains::keep_late() {
  if (host_late_.empty()) return;
  host_kept_ = false;
  if (auto kept = keep(host_record_); !kept)
    log(LogLevel::error, "state-not-kept", {{"file", paths_.host_record()}, {"error", kept.error()}});
}

}  // namespace cloister::toolstack
