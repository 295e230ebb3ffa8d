// The definition of a domain that moves: it is at its target when the domain is that one's, and goes at its source when
// that is known. What it says is what runs, so that all of it has been checked at the target; when it is started goes
// along in the offer, and from then on in the records of both.
#include <algorithm>

#include "arch/try.hpp"
#include "daemon/migrations.hpp"
#include "host/log.hpp"

namespace cloister::toolstack {

namespace {

std::string names_of(const std::vector<std::string>& keys) {
  std::string names;
  for (const std::string& key : keys) names += (names.empty() ? "" : ", ") + key;
  return names.empty() ? "its text" : names;
}

}  // namespace

void Migrations::offer_definition(Domain& domain, Offer& offer) const {
  const MutexLock held(domains_.lock_);
  domain.offered_definition.clear();
  const Defined* const defined = domains_.definition_of(domain);
  if (defined == nullptr) return;
  const Definition& definition = defined->definition;
  const DomainRecord& record = domain.record;
  offer.defined = definition;
  if (definition.text == record.config && definition.file == record.file && definition.directory == record.directory) {
    domain.offered_definition = tag_of(definition);
  } else {
    offer.refused.push_back("it was defined anew since it was started (" + names_of(domain.differs) +
                            "), and only what runs can go along: it can go when it has been started anew, or is "
                            "defined as it runs");
  }
}

bool Migrations::left_with_definition(const Domain& domain, const std::string& session) const {
  const MutexLock held(domains_.lock_);
  const Defined* const defined = domains_.definition_of(domain);
  return domain.left_with.session == session &&
         domain.left_with.definition == (defined == nullptr ? std::string() : tag_of(defined->definition));
}

std::string Migrations::why_not_defined(const Offer& offer, const CreateRequest& request) {
  Definition next;
  static_cast<StartTerms&>(next) = *offer.defined;
  next.uuid = offer.uuid;
  next.name = offer.name;
  next.owner = request.owner;
  next.text = request.config;
  {
    const MutexLock held(domains_.lock_);
    if (const auto why = domains_.no_room_for(next)) return why->message;
  }
  const auto checked =
      check_request(domains_.opener_, request, domains_.machine(), domains_.processors(), CheckedFor::definition);
  return checked ? "" : checked.error().message;
}

bool Migrations::define(Domains& domains, const DomainRecord& record) {
  if (domains.definitions_.with_uuid(record.uuid) != nullptr) return true;
  Definition made;
  static_cast<StartTerms&>(made) = *record.move->defined;
  made.uuid = record.uuid;
  made.name = record.name;
  made.owner = record.owner;
  made.text = record.config;
  made.file = record.file;
  made.directory = record.directory;
  if (auto kept = domains.keep(read_defined(made)); !kept) {
    log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", kept.error().message}});
    return false;
  }
  log(LogLevel::info, "domain-defined",
      {{"domain", made.name}, {"uuid", made.uuid}, {"uid", std::to_string(made.owner.user)}, {"tag", tag_of(made)}});
  return true;
}

bool Migrations::forget_definition(Domains& domains, const DomainRecord& record) {
  const MoveRecord& move = *record.move;
  const Defined* const defined = record.persistent ? domains.definitions_.with_uuid(record.uuid) : nullptr;
  if (defined == nullptr) return true;
  if (!move.gone) {
    Defined next = *defined;
    next.definition.in_doubt = MoveDoubt{.session = move.session, .peer = move.peer, .digests = move.digests};
    const auto kept = domains.keep(next);
    // It is so all the same: its record stays, by which the next daemon knows.
    if (!kept) domains.definitions_.put(std::move(next));
    if (!kept) log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", kept.error().message}});
    return kept.has_value();
  }
  const auto removed = remove_definition(domains, record.uuid, record.name);
  if (!removed) log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", removed.error()}});
  return removed.has_value();
}

tl::expected<void, std::string> Migrations::remove_definition(Domains& domains, const std::string& uuid,
                                                              const std::string& name) {
  TRY(domains.around_.records->remove_definition(uuid));
  log(LogLevel::info, "domain-undefined", {{"domain", name}, {"uuid", uuid}});
  domains.definitions_.remove(uuid);
  domains.last_ends_.erase(uuid);
  domains.settled(uuid, "");
  return {};
}

Migrations::Done Migrations::clear_doubt(Domains& domains, const Defined& defined) {
  Defined next = defined;
  const KeyName own = KeyName::of_domain(next.definition.uuid);
  // What may run elsewhere has the key before.
  if (next.definition.in_doubt->digests && domains.keys_.find(own) != nullptr) {
    if (auto renewed = domains.keys_.renew(own); !renewed) return tl::unexpected(ApiError{500, renewed.error()});
  }
  next.definition.in_doubt.reset();
  return domains.keep(std::move(next));
}

std::optional<tl::expected<std::string, ApiError>> Migrations::settle_doubt(const std::string& key,
                                                                            const SaidOfDoubt& said) {
  using Result = tl::expected<std::string, ApiError>;
  const MutexLock held(domains_.lock_);
  const Defined* const defined = domains_.definitions_.find(key);
  if (domains_.lookup(key) != nullptr || defined == nullptr || !defined->definition.in_doubt) return std::nullopt;
  const MoveDoubt doubt = *defined->definition.in_doubt;
  const std::string uuid = defined->definition.uuid, name = defined->definition.name;
  const auto platform =
      defined->config.epc.empty() ? std::optional<SgxPlatform>() : platform_of(defined->config, &defined->definition);
  const auto refused = [&](int status, const std::string& why) {
    return Result(tl::unexpected(ApiError{status, "'" + name + "': " + why}));
  };
  if (doubt.session != said.session) return refused(409, "the verdict is about another move of it");
  const bool commit = said.verdict == MoveWord::commit;
  if (said.verdict && doubt.digests && !is_word(said.word, commit ? doubt.digests->commit : doubt.digests->abort))
    return refused(409, "its enclaves may run at its target by now, whose own word alone says whether they do");
  if (!commit && said.verdict && doubt.digests) {
    // None of them runs there, nor ever will: its key is its own.
    Defined next = *defined;
    next.definition.in_doubt.reset();
    if (auto kept = domains_.keep(std::move(next)); !kept) return Result(tl::unexpected(kept.error()));
    return Result(std::string());
  }
  if (!commit) {
    if (auto cleared = clear_doubt(domains_, *defined); !cleared) return Result(tl::unexpected(cleared.error()));
    return Result(std::string());
  }
  if (auto removed = remove_definition(domains_, uuid, name); !removed) return refused(500, removed.error());
  if (!doubt.digests) return Result(std::string());
  std::vector<KeyName> names{KeyName::of_domain(uuid)};
  if (platform && platform->keys == SgxPlatform::Keys::group && !domains_.has_members(platform->group, 0))
    names.push_back(KeyName::of_group(platform->group));
  for (const KeyName& key_name : names) {
    if (domains_.keys_.find(key_name) == nullptr) continue;
    const auto erased = domains_.keys_.erase(key_name);
    log(erased ? LogLevel::info : LogLevel::warning, erased ? "key-moved" : "state-not-kept",
        {{"domain", name}, {"key", to_text(key_name)}, {"error", erased ? "" : erased.error()}});
  }
  return Result(own_word(MoveWord::done, said.session, uuid));
}

}  // namespace cloister::toolstack
