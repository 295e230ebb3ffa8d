// Definitions: what is kept is checked first and on disk before it counts, a file each, so that a definition is the old
// one or the new one whenever the machine stops.
#include <unistd.h>

#include <algorithm>

#include "arch/try.hpp"
#include "config/changes.hpp"
#include "daemon/access.hpp"
#include "daemon/domains.hpp"
#include "daemon/migrations.hpp"
#include "host/log.hpp"
#include "host/whole_file.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

/// Not left to the group, whatever [access] says: a text names files, which are opened with its owner's rights.
bool may_define(const Owner& owner, const Owner& who) { return is_master(who.user, owner, ::geteuid()); }

/// With whose rights the files of a definition that there is are opened, as `who` defines it anew. Its owner's groups
/// are those that its owner has now: one that was taken away since opens nothing more.
Owner owner_anew(const Owner& owner, const Owner& who) { return who.user == owner.user ? who : owner; }

/// Whether it comes from the same text, as its owner's client sent it.
bool same_source(const Definition& definition, const std::string& text, const std::string& file,
                 const std::string& directory) {
  return definition.text == text && definition.file == file && definition.directory == directory;
}

/// Why a definition is not to be changed: its domain may run elsewhere by now, and it goes along.
std::optional<ApiError> on_its_way(const Domain* domain) {
  if (domain == nullptr || !domain->record.move) return std::nullopt;
  return ApiError{409,
                  "'" + domain->record.name +
                      "' is on its way elsewhere, and its definition with it: `cloister migrate --resolve` finds out "
                      "where it runs"};
}

/// What else than asking its target settles a doubt, where its definition is to be changed, or to go.
constexpr const char* asking_nobody = "`cloister migrate --resolve --here` asks nobody, if its target is gone for ever";

ApiError not_yours(const std::string& name) { return {403, "'" + name + "' is another user's"}; }

/// 412 (RFC 9110, 15.5.13), where a condition does not hold.
std::optional<ApiError> unmet_by(const TagCondition& condition, const Defined* present, const std::string& name) {
  if (!condition) return std::nullopt;
  const std::string tag = present == nullptr ? std::string() : tag_of(present->definition);
  if (condition(present == nullptr ? nullptr : &tag)) return std::nullopt;
  const std::string any;  // a tag that no definition has
  const bool expects_none = condition(nullptr) && !condition(&any);
  const char* const found = present == nullptr ? "' is not defined, and the request expects that it is"
                            : expects_none     ? "' is defined, and the request expects that it is not"
                                               : "' has another definition than the request expects";
  return ApiError{412, "'" + name + found};
}

}  // namespace

tl::expected<void, ApiError> Domains::keep(Defined defined) {
  const Definition& next = defined.definition;
  if (auto kept = around_.records->put(next); !kept) return tl::unexpected(ApiError{500, kept.error()});
  const Defined* const before = definitions_.with_uuid(next.uuid);
  const bool same = before != nullptr && same_source(before->definition, next.text, next.file, next.directory);
  const Pointer domain = same ? nullptr : living(next.uuid);
  definitions_.put(std::move(defined));
  if (domain != nullptr) compare(*domain);
  return {};
}

void Domains::compare(Domain& domain) const {
  domain.differs.clear();
  const Defined* const defined = definition_of(domain);
  const DomainRecord& record = domain.record;
  if (defined == nullptr || !domain.unread.empty()) return;
  const Definition& definition = defined->definition;
  if (!same_source(definition, record.config, record.file, record.directory)) {
    domain.differs = changed_keys({record.config, record.directory}, {definition.text, definition.directory});
    std::erase(domain.differs, "uuid");  // it keeps the one that it has, whether its text says so or not
    if (definition.file != record.file) domain.differs.insert(std::ranges::lower_bound(domain.differs, "file"), "file");
  }
  // Not in its text, but for what is meant where that says nothing.
  const auto& platform = record.platform;
  if (platform && !defined->config.epc.empty() && domain.differs.empty() &&
      *platform != platform_of(defined->config, &definition))
    domain.differs.push_back("sgx_platform");
}

std::optional<ApiError> Domains::no_room_for(const Definition& next) const {
  const bool master = is_master(next.owner.user, {}, ::geteuid());
  const auto why = definitions_.no_room_for(next, master ? Definitions::of_a_master : Definitions::of_a_user);
  return why ? std::optional(ApiError{507, *why}) : std::nullopt;
}

/// What is to be kept, if nothing is in the way.
tl::expected<Definition, ApiError> Domains::defined_anew(const DefineRequest& request, const DomainConfig& config) {
  const CreateRequest& as = request.as;
  const auto with_room = [this](const Definition& next) CLOISTER_REQUIRES(lock_) -> tl::expected<Definition, ApiError> {
    if (const auto why = no_room_for(next)) return tl::unexpected(*why);
    return next;
  };
  const Defined* const before = definitions_.with_name(config.name);
  if (before != nullptr && !may_define(before->definition.owner, as.owner))
    return tl::unexpected(not_yours(config.name));
  if (const auto unmet = unmet_by(request.condition, before, config.name)) return tl::unexpected(*unmet);
  if (before != nullptr) {
    Definition next = before->definition;
    if (!config.uuid.empty() && config.uuid != next.uuid)
      return tl::unexpected(
          in_config(as.file, {config.position_of("uuid"), "'uuid': '" + config.name + "' has " + next.uuid}, 409));
    next.owner = owner_anew(next.owner, as.owner);
    next.text = as.config;
    next.file = as.file;
    next.directory = as.directory;
    next.machine_keys = next.machine_keys && !config.sgx_platform;  // what a text has said once is not taken back
    return with_room(next);
  }
  if (name_taken(config.name))
    return tl::unexpected(ApiError{
        409,
        "'" + config.name + "' lives and is not defined: it can be when it has ended; create --persist does both"});
  if (!config.uuid.empty() && uuid_taken(config.uuid))
    return tl::unexpected(
        in_config(as.file, {config.position_of("uuid"), "'uuid': '" + config.uuid + "' is another domain's"}, 409));
  if (const auto why = keys_.foreign(KeyName::of_domain(config.uuid), as.owner))
    return tl::unexpected(in_config(as.file, {config.position_of("uuid"), "'uuid': " + why->message}, why->status));
  Definition made;
  made.uuid = config.uuid.empty() ? new_uuid() : config.uuid;
  made.name = config.name;
  made.owner = as.owner;
  made.text = as.config;
  made.file = as.file;
  made.directory = as.directory;
  return with_room(made);
}

Domains::DefinitionResult Domains::define(const DefineRequest& request) {
  CreateRequest as = request.as;
  {
    // A definition's files are opened with its owner's rights, whoever writes it anew.
    const MutexLock held(lock_);
    const Defined* const before = definitions_.with_name(request.name);
    if (before != nullptr && !may_define(before->definition.owner, as.owner))
      return tl::unexpected(not_yours(request.name));
    if (before != nullptr) as.owner = owner_anew(before->definition.owner, as.owner);
  }
  auto checked = TRY(check_request(opener_, as, machine(), processors(), CheckedFor::definition));
  DomainConfig& config = checked.config;
  if (config.name != request.name)
    return tl::unexpected(in_config(
        as.file, {config.position_of("name"), "'name': found '" + config.name + "', expected '" + request.name + "'"}));

  const MutexLock held(lock_);
  auto next = TRY(defined_anew(request, config));
  if (const auto why = on_its_way(living(next.uuid).get())) return tl::unexpected(*why);
  if (const auto why = doubt_about(next, asking_nobody)) return tl::unexpected(*why);
  const bool made = definitions_.with_uuid(next.uuid) == nullptr;
  TRY(keep({.definition = next, .config = std::move(config), .unread = {}}));
  log(LogLevel::info, "domain-defined",
      {{"domain", next.name},
       {"uuid", next.uuid},
       {"uid", std::to_string(request.as.owner.user)},
       {"tag", tag_of(next)}});
  return DefinitionInfo{.definition = std::move(next), .made = made, .warnings = checked.warnings};
}

tl::expected<const Defined*, ApiError> Domains::defined(const std::string& key) const {
  const Pointer domain = lookup(key);
  if (const Defined* const found = domain == nullptr ? definitions_.find(key) : definition_of(*domain)) return found;
  if (domain == nullptr) return tl::unexpected(no_such_domain(key));
  return tl::unexpected(ApiError{404, "'" + domain->record.name + "' is not defined: it is gone when it ends"});
}

Domains::DefinitionResult Domains::definition(const std::string& key) const {
  const MutexLock held(lock_);
  const auto found = TRY(defined(key));
  return DefinitionInfo{.definition = found->definition};
}

Domains::DefinitionResult Domains::undefine(const std::string& key, const TagCondition& condition, const Peer* who,
                                            bool erase_key) {
  const MutexLock held(lock_);
  const auto found = TRY(defined(key));
  const Definition last = found->definition;
  if (const auto unmet = unmet_by(condition, found, last.name)) return tl::unexpected(*unmet);
  if (const Pointer domain = living_of(last))
    return tl::unexpected(may_be_another(*domain, last)
                              .value_or(ApiError{409, "'" + last.name + "' can be undefined when it is shut off"}));
  if (auto why = doubt_about(last, asking_nobody)) return tl::unexpected(std::move(*why));
  if (who != nullptr && host_saves_.has(last.uuid) &&
      !may(*who, last.owner, Right::keys, machine().access, ::geteuid()))
    return tl::unexpected(ApiError{403, refusal(*who, last.name, last.owner, Right::keys) +
                                            ": what was saved of it when the host went down would be gone"});
  const KeyName name = KeyName::of_domain(last.uuid);
  const HeldKey* const own = erase_key ? keys_.find(name) : nullptr;
  if (own != nullptr && who != nullptr) {
    if (auto why = not_erasable(*own, *who)) return tl::unexpected(std::move(*why));
  }
  TRY(forget_host_save(last.uuid));
  if (auto removed = around_.records->remove_definition(last.uuid); !removed)
    return tl::unexpected(ApiError{500, removed.error()});
  definitions_.remove(last.uuid);
  last_ends_.erase(last.uuid);
  settled(last.uuid, "");  // another one may be given its uuid
  // Last: a definition without its key would make another one.
  if (own != nullptr) {
    if (auto erased = keys_.erase(name); !erased)
      return tl::unexpected(
          ApiError{500, "'" + last.name + "' is undefined, and its key is not erased: " + erased.error()});
    log(LogLevel::info, "key-erased",
        {{"key", last.uuid}, {"uid", std::to_string(who == nullptr ? ::geteuid() : who->uid)}});
  }
  log(LogLevel::info, "domain-undefined", {{"domain", last.name}, {"uuid", last.uuid}});
  return DefinitionInfo{.definition = last};
}

Domains::Result Domains::start(const std::string& key, bool paused, bool anew) {
  Definition definition;
  std::optional<HostSave> saved;
  {
    const MutexLock held(lock_);
    if (const Pointer domain = lookup(key)) return tl::unexpected(lives_already(*domain));
    const Defined* const defined = definitions_.find(key);
    if (defined == nullptr) return tl::unexpected(no_such_domain(key));
    definition = defined->definition;
    if (const auto why = doubt_about(definition); why && !anew) return tl::unexpected(*why);
    if (!anew) saved = host_saves_.find(definition.uuid);
  }
  if (saved) return go_on_from(*saved, paused);
  const CreateRequest request{.config = definition.text,
                              .file = definition.file,
                              .directory = definition.directory,
                              .owner = definition.owner,
                              .paused = paused,
                              .uuid = {},
                              .anew = anew};
  auto started = create_domain(request, &definition);
  if (started) settle(definition.uuid, "");
  return started;
}

Domains::Result Domains::change(const std::string& key, const DomainChange& change) {
  const MutexLock held(lock_);
  const Pointer domain = lookup(key);
  const auto found = defined(key);
  if (!found) {
    if (domain == nullptr) return tl::unexpected(found.error());
    if (const auto unmet = unmet_by(change.condition, nullptr, domain->record.name)) return tl::unexpected(*unmet);
    if (change.autostart || change.order || change.delay_seconds)
      return tl::unexpected(ApiError{409, found.error().message});
    if (!change.name) return info(*domain);
    const MutexUnlock apart(lock_);
    return rename(domain, *change.name);
  }
  const Definition before = (*found)->definition;
  if (const auto unmet = unmet_by(change.condition, *found, before.name)) return tl::unexpected(*unmet);
  Defined next = **found;
  if (change.name && *change.name != before.name) {
    if (const Pointer lives = living_of(before))
      return tl::unexpected(may_be_another(*lives, before)
                                .value_or(ApiError{409, "'" + before.name + "' can be renamed when it is shut off"}));
    if (host_saves_.has(before.uuid))
      return tl::unexpected(ApiError{409, "'" + before.name +
                                              "' was saved when the host went down, by this name: it can "
                                              "be renamed when it has gone on"});
    if (const auto taken = name_taken(*change.name)) return tl::unexpected(*taken);
    tl::expected<std::string, std::string> text;
    {
      const MutexUnlock apart(lock_);
      text = renamed(before.text, *change.name);
      if (text) {
        next.definition.text = *text;
        next.definition.name = *change.name;
        next = read_defined(std::move(next.definition));
      }
    }
    if (text && text->size() > longest_config)
      text = tl::unexpected(std::string("with the new name its text were longer than a file may be"));
    if (!text) return tl::unexpected(ApiError{409, "'" + before.name + "': " + text.error()});
    const Defined* const now = definitions_.with_uuid(before.uuid);
    if (now == nullptr || now->definition != before || living_of(before) != nullptr)
      return tl::unexpected(ApiError{409, "'" + before.name + "' has just been defined anew, undefined or started"});
    if (const auto taken = name_taken(*change.name)) return tl::unexpected(*taken);
    if (const auto why = no_room_for(next.definition)) return tl::unexpected(*why);
  }
  Definition& wanted = next.definition;
  wanted.autostart = change.autostart.value_or(wanted.autostart);
  wanted.order = change.order.value_or(wanted.order);
  wanted.delay_seconds = change.delay_seconds.value_or(wanted.delay_seconds);
  if (wanted != before) {
    if (const auto why = on_its_way(domain.get())) return tl::unexpected(*why);
    if (const auto why = doubt_about(before, asking_nobody)) return tl::unexpected(*why);
    const std::string name = wanted.name;
    TRY(keep(std::move(next)));
    if (name != before.name) log(LogLevel::info, "domain-renamed", {{"domain", name}, {"before", before.name}});
  }
  return domain != nullptr ? info(*domain) : info(*definitions_.with_uuid(before.uuid));
}

DefinitionCounts Domains::definition_counts() const {
  const MutexLock held(lock_);
  DefinitionCounts counts;
  for (const auto& [uuid, defined] : definitions_) {
    ++counts.by_word[static_cast<std::size_t>(defined.definition.autostart)];
    if (living(uuid) == nullptr) ++counts.shut_off;
    if (!start_failure(defined.definition).why.empty()) ++counts.failed;
  }
  return counts;
}

void Domains::read_definitions() {
  const auto read = around_.records->definitions();
  if (!read) return log(LogLevel::error, "definitions-unread", {{"error", read.error()}});
  around_.records->tidy(*read);
  const auto set_aside = [this](const std::string& file, const std::string& why) {
    const auto moved = around_.records->set_aside_definition(file);
    log(LogLevel::error, moved ? "definition-set-aside" : "state-not-kept",
        {{"file", moved ? *moved : (paths_.definitions() / file).string()}, {"error", moved ? why : moved.error()}});
  };
  for (const auto& [uuid, why] : definitions_.take(read->definitions))
    set_aside(paths_.definition(uuid).filename(), why);
  for (const auto& [uuid, defined] : definitions_) {
    if (!defined.unread.empty())
      log(LogLevel::warning, "definition-not-usable", {{"domain", defined.definition.name}, {"error", defined.unread}});
  }
  for (const UnreadDefinition& unread : read->unread) set_aside(unread.file, unread.why);
  for (const std::string& name : read->strays)
    log(LogLevel::warning, "file-unknown", {{"file", (paths_.definitions() / name).string()}});
}

}  // namespace cloister::toolstack
