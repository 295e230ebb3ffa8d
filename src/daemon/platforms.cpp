// Whose keys a domain has: its uuid's, of which a group's or the machine's may stand in for all but the paging key.
#include "arch/try.hpp"
#include "daemon/domains.hpp"
#include "host/log.hpp"
#include "host/memfd.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

std::vector<KeyName> names_of(const std::string& uuid, const std::optional<SgxPlatform>& platform) {
  std::vector<KeyName> names;
  if (platform) names.push_back(KeyName::of_domain(uuid));
  if (platform && platform->keys == SgxPlatform::Keys::group) names.push_back(KeyName::of_group(platform->group));
  return names;
}

}  // namespace

tl::expected<DomainIdentity, ApiError> Domains::identity_of(const CreateRequest& request, const DomainConfig& config,
                                                            const Definition* definition) const {
  DomainIdentity identity;
  // As it is now: what it is started from may be older.
  const Defined* const defined = definition == nullptr ? nullptr : definitions_.with_uuid(definition->uuid);
  if (!config.epc.empty()) identity.platform = platform_of(config, defined == nullptr ? nullptr : &defined->definition);
  const auto refuse = [&](const char* key, ApiError why) {
    return tl::unexpected(in_config(request.file, {config.position_of(key), std::move(why.message)}, why.status));
  };
  identity.uuid = definition != nullptr ? definition->uuid : config.uuid;
  if (identity.uuid.empty()) {
    identity.uuid = keys_.uuid_of(request.owner, config.name);
    // One of another name: it was renamed, or says that it has this uuid.
    if (uuid_taken(identity.uuid)) {
      if (identity.platform)
        return refuse("name", {409, "another domain has the uuid " + identity.uuid + ", and with it the keys, of '" +
                                        config.name + "': expected another name, or a 'uuid'"});
      identity.uuid = new_uuid();
    }
  }
  if (const auto why = keys_.foreign(KeyName::of_domain(identity.uuid), request.owner)) return refuse("uuid", *why);
  for (const KeyName& name : names_of(identity.uuid, identity.platform)) {
    if (const auto why = keys_.refusal(name, request.owner))
      return refuse(name.kind == KeyName::Kind::group ? "sgx_platform" : "uuid", *why);
  }
  return identity;
}

tl::expected<void, std::string> Domains::power_on(Domain& domain) {
  const DomainRecord& record = domain.record;
  for (const KeyName& key : names_of(record.uuid, record.platform)) {
    const bool is_new = keys_.find(key) == nullptr;
    TRY(keys_.power_on(key, record.owner, record.name));
    if (is_new) domain.made_keys.push_back(key);
  }
  return {};
}

void Domains::forget_made_keys(const Domain& domain) {
  for (const KeyName& name : domain.made_keys) {
    const HeldKey* const held = keys_.find(name);
    if (held == nullptr || held->key.power_ons > 1 || !users_of(name).empty()) continue;
    if (auto erased = keys_.erase(name); !erased)
      log(LogLevel::warning, "state-not-kept", {{"key", to_text(name)}, {"error", erased.error()}});
  }
}

tl::expected<DomainPlatform, std::string> Domains::platform_for(const DomainRecord& record) const {
  DomainPlatform platform;
  if (!record.platform) return platform;
  LaunchKeys keys;
  {
    const MutexLock held(lock_);
    keys = keys_.launch_keys(record.uuid, *record.platform);
  }
  if (record.boot != 0) keys.boot = record.boot;  // of enclaves that come with it
  platform.boot = keys.boot;
  std::array<u8, sizeof keys.root + sizeof keys.paging> secrets{};
  std::copy(keys.paging.begin(), keys.paging.end(), std::copy(keys.root.begin(), keys.root.end(), secrets.begin()));
  platform.keys = sealed_memfd("cloister-keys", secrets);
  if (!platform.keys) return tl::unexpected(std::string("no memory for the domain's keys"));
  auto counters = silicon().create_counters(keys.boot);
  if (!counters) return tl::unexpected(std::string("the domain's counters: ") + vmx::name_of(counters.error()));
  platform.counters = std::move(*counters);
  return platform;
}

}  // namespace cloister::toolstack
