// What may be done to keys: they are listed, erased while nobody uses them, and a definition of an earlier version gets
// its own. Whose they are is looked up under the lock, in which they are changed.
#include <unistd.h>

#include "arch/try.hpp"
#include "daemon/access.hpp"
#include "daemon/domains.hpp"
#include "host/log.hpp"

namespace cloister::toolstack {

bool uses_key(const Domain& domain, const KeyName& name) {
  const DomainRecord& record = domain.record;
  if (domain.keys_unknown) return true;
  if (!record.platform) return false;
  if (name.kind == KeyName::Kind::domain) return record.uuid == name.id;
  return record.platform->keys == SgxPlatform::Keys::group && record.platform->group == name.id;
}

std::vector<std::string> Domains::users_of(const KeyName& name) const {
  std::vector<std::string> users;
  for (const auto& [id, domain] : table_) {
    if (uses_key(*domain, name)) users.push_back(domain->record.name);
  }
  return users;
}

KeyInfo Domains::info(const HeldKey& held) const {
  return {.key = held.key.name,
          .owner = held.key.owner,
          .made = held.key.made,
          .last_use = held.key.last_use,
          .domain = held.key.domain,
          .power_ons = held.key.power_ons,
          .unread = held.unread,
          .used_by = users_of(held.key.name)};
}

std::vector<KeyInfo> Domains::keys() const {
  const MutexLock held(lock_);
  std::vector<KeyInfo> all;
  for (const auto& [name, key] : keys_) all.push_back(info(key));
  return all;
}

tl::expected<KeyInfo, ApiError> Domains::key(const std::string& text) const {
  const auto name = read_key_name(text);
  const MutexLock held(lock_);
  const HeldKey* const key = name ? keys_.find(*name) : nullptr;
  if (key == nullptr) return tl::unexpected(ApiError{404, "no key '" + text + "'"});
  return info(*key);
}

std::optional<ApiError> Domains::not_erasable(const HeldKey& held, const Peer& who) const {
  const std::string text = to_text(held.key.name);
  if (!may(who, held.key.owner, Right::keys, machine().access, ::geteuid()))
    return ApiError{403, toolstack::refusal(who, text, held.key.owner, Right::keys)};
  const std::vector<std::string> users = users_of(held.key.name);
  if (users.empty()) return std::nullopt;
  std::string names;
  for (const std::string& user : users) names.append(names.empty() ? "'" : ", '").append(user).append("'");
  return ApiError{409, "the key " + text + " can be erased when no domain uses it: " + names + " does, or may"};
}

tl::expected<KeyInfo, ApiError> Domains::erase_key(const std::string& text, const Peer& who) {
  const auto name = read_key_name(text);
  const MutexLock held(lock_);
  const HeldKey* const key = name ? keys_.find(*name) : nullptr;
  if (key == nullptr) return tl::unexpected(ApiError{404, "no key '" + text + "'"});
  if (const auto why = not_erasable(*key, who)) return tl::unexpected(*why);
  KeyInfo last = info(*key);
  if (auto erased = keys_.erase(*name); !erased) return tl::unexpected(ApiError{500, erased.error()});
  log(LogLevel::info, "key-erased", {{"key", to_text(*name)}, {"uid", std::to_string(who.uid)}});
  return last;
}

Domains::Result Domains::move_to_own_keys(const std::string& key, const Peer& who) {
  const MutexLock held(lock_);
  const auto found = TRY(defined(key));
  Defined next = *found;
  Definition& wanted = next.definition;
  if (!may(who, wanted.owner, Right::keys, machine().access, ::geteuid()))
    return tl::unexpected(ApiError{403, toolstack::refusal(who, wanted.name, wanted.owner, Right::keys)});
  if (next.config.sgx_platform)
    return tl::unexpected(ApiError{409, "'" + wanted.name + "': its text says whose keys it has: sgx_platform = \"" +
                                            to_text(*next.config.sgx_platform) + "\""});
  const std::string uuid = wanted.uuid;
  if (wanted.machine_keys) {
    wanted.machine_keys = false;
    const std::string name = wanted.name;
    TRY(keep(std::move(next)));
    log(LogLevel::info, "domain-keys-moved",
        {{"domain", name}, {"uuid", uuid}, {"uid", std::to_string(who.uid)}, {"sgx_platform", "private"}});
  }
  if (const Pointer domain = living(uuid)) {
    compare(*domain);
    return info(*domain);
  }
  return info(*definitions_.with_uuid(uuid));
}

}  // namespace cloister::toolstack
