// The keys of a domain that comes with its enclaves, and what becomes of keys that have come with it, or stay behind:
// they are where it runs.
#include <poll.h>

#include <algorithm>

#include "arch/try.hpp"
#include "daemon/migrations.hpp"
#include "daemon/ticket_list.hpp"
#include "host/log.hpp"
#include "host/memfd.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::chrono::milliseconds between_looks_for_keys{20};

bool nobody_brings(int socket) {
  pollfd look{.fd = socket, .events = POLLRDHUP, .revents = 0};
  return ::poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

}  // namespace

tl::expected<void, std::string> Migrations::take_keys(const Coming& coming) {
  MovedKeys keys;
  std::shared_ptr<const MoveAgreement> agreed;
  {
    const MutexLock held(lock_);
    while (!coming->keys && !stopping_ && !nobody_brings(coming->connection.get())) {
      changed_.wait_for(lock_, between_looks_for_keys,
                        [&]() CLOISTER_REQUIRES(lock_) { return stopping_ || coming->keys.has_value(); });
    }
    if (!coming->keys) return tl::unexpected(std::string("its source has not proved which machine it is"));
    keys = *coming->keys;
    coming->keys.reset();
    agreed = coming->agreed;
  }
  TRY(adopt_keys(*coming, *agreed, keys));
  const MoveOrder order{.session = importing(*agreed), .key = agreed->secrets.stream, .id = agreed->secrets.seal};
  coming->images.saved.order = sealed_memfd("cloister-order", write_move_order(order));
  if (!coming->images.saved.order) return tl::unexpected(std::string("no memory for what its process is told"));
  return {};
}

/// The record first: whoever finds it knows which keys came with a domain that did not come.
tl::expected<void, std::string> Migrations::adopt_keys(const Arrival& coming, const MoveAgreement& agreed,
                                                       const MovedKeys& keys) {
  const MutexLock held(domains_.lock_);
  Domain& domain = *coming.domain;
  if (domain.life.over()) return tl::unexpected(std::string("it has ended"));
  DomainRecord next = domain.record;
  const bool grouped = next.platform && next.platform->keys == SgxPlatform::Keys::group;
  if (!next.platform || keys.boot == 0 || grouped != keys.group.has_value())
    return tl::unexpected(std::string("its keys are not those that its configuration speaks of"));
  next.boot = keys.boot;
  next.move =
      MoveRecord{.session = agreed.session, .arrives = true, .digests = agreed.digests, .defined = coming.defined};
  // A group's key is a copy: whoever has used it here meanwhile goes on with it, also if this domain does not come.
  const KeyName own = KeyName::of_domain(next.uuid);
  const KeyName group = KeyName::of_group(grouped ? next.platform->group : "");
  if (domains_.keys_.find(own) == nullptr) next.move->keys.push_back(to_text(own));
  TRY(domains_.around_.records->put(next));
  domain.record = std::move(next);
  const DomainRecord& record = domain.record;
  if (grouped) TRY(domains_.keys_.adopt(group, *keys.group, 0, record.owner, record.name));
  return domains_.keys_.adopt(own, keys.own, keys.power_ons, record.owner, record.name);
}

/// Of a domain that is dead. One that arrived never runs here from now on, unless it was said before that it does; who
/// says so at the same time has done it before, or is told that it does not.
/// False: its definition could not be written down, and its record is to stay for the next daemon.
bool Domains::settle_moved(const DomainRecord& record) {
  if (!record.move) return true;
  std::vector<KeyName> names;
  bool kept = record.move->arrives || Migrations::forget_definition(*this, record);
  if (record.move->gone && record.move->digests) {
    names.push_back(KeyName::of_domain(record.uuid));
    // Copied with each of them, and of use to those alone that are here.
    if (const auto& platform = record.platform; platform && platform->keys == SgxPlatform::Keys::group) {
      if (!has_members(platform->group, record.id)) names.push_back(KeyName::of_group(platform->group));
    }
  }
  if (record.move->arrives && (!record.move->keys.empty() || record.move->defined)) {
    const auto verdicts = Verdicts::open(paths_.state);
    const Verdict abort{.uuid = record.uuid, .name = record.name, .user = record.owner.user};
    const auto verdict = verdicts ? verdicts->put(record.move->session, abort) : tl::unexpected(verdicts.error());
    if (!verdict) log(LogLevel::warning, "state-not-kept", {{"domain", record.name}, {"error", verdict.error()}});
    if (record.move->defined) kept = verdict && (!verdict->commit || Migrations::define(*this, record));
    if (verdict && !verdict->commit) {
      for (const std::string& text : record.move->keys) {
        const auto name = read_key_name(text);
        if (name && name->kind == KeyName::Kind::domain) names.push_back(*name);
      }
    }
  }
  for (const KeyName& name : names) {
    const bool used = std::ranges::any_of(table_, [&](const auto& one) CLOISTER_REQUIRES(lock_) {
      return one.first != record.id && uses_key(*one.second, name);
    });
    if (used || keys_.find(name) == nullptr) continue;
    const auto erased = keys_.erase(name);
    log(erased ? LogLevel::info : LogLevel::warning, erased ? "key-moved" : "state-not-kept",
        {{"domain", record.name}, {"key", to_text(name)}, {"error", erased ? "" : erased.error()}});
  }
  return kept;
}

/// Whether a domain may be in this group, live or to come: one that is defined, or in a file with a ticket. but: the
/// number of one that is no more.
bool Domains::has_members(const std::string& group, u32 but) const {
  const auto in_it = [&](const SgxPlatform& platform) {
    return platform.keys == SgxPlatform::Keys::group && platform.group == group;
  };
  const bool lives = std::ranges::any_of(table_, [&](const auto& one) CLOISTER_REQUIRES(lock_) {
    return one.first != but && uses_key(*one.second, KeyName::of_group(group));
  });
  const bool defined = std::ranges::any_of(definitions_, [&](const auto& one) {
    const Defined& of = one.second;
    return !of.unread.empty() || (!of.config.epc.empty() && in_it(platform_of(of.config, &of.definition)));
  });
  const bool saved = std::ranges::any_of(read_tickets(*around_.records), [&](const auto& one) {
    return !one.second || one.second->group == group || one.second->group == unknown_group;
  });
  return lives || defined || saved;
}

}  // namespace cloister::toolstack
