#include "daemon/key_ring.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "arch/try.hpp"
#include "daemon/access.hpp"
#include "daemon/hmac.hpp"
#include "host/log.hpp"
#include "text/hex.hpp"
#include "text/utc.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

tl::expected<void, std::string> KeyRing::read() {
  const auto read = TRY(records_.keys());
  records_.tidy(read);
  for (const KeyFile& file : read.files) {
    auto key = file.why.empty() ? unwrap_key(file.text, secrets_.wrap) : tl::unexpected(file.why);
    if (key && key->name != file.name)
      key = tl::unexpected("'key': " + to_text(key->name) + ", which is another file's");
    HeldKey held;
    if (key) {
      held.key = std::move(*key);
    } else {
      held.unread = key.error();
      held.key.name = file.name;
      log(LogLevel::error, "key-unread", {{"file", "keys/" + key_file(file.name)}, {"error", held.unread}});
    }
    by_name_.insert_or_assign(file.name, std::move(held));
  }
  for (const std::string& name : read.strays) log(LogLevel::warning, "file-unknown", {{"file", "keys/" + name}});
  return {};
}

/// The space of names is this state's: another machine's domains of the same name are others.
std::string KeyRing::uuid_of(const Owner& owner, const std::string& domain) const {
  const arch::Bytes32 digest = hmac_sha256(secrets_.wrap.bytes, "uuids of domains");
  std::array<u8, 16> space{};
  std::copy_n(digest.begin(), space.size(), space.begin());
  return named_uuid(space, fmt::format("{}/{}", owner.user, domain));
}

const HeldKey* KeyRing::find(const KeyName& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &found->second;
}

std::optional<ApiError> KeyRing::foreign(const KeyName& name, const Owner& owner) const {
  const HeldKey* const held = find(name);
  if (held == nullptr || !held->unread.empty() || held->key.owner.user == owner.user) return std::nullopt;
  return ApiError{409, fmt::format("the key {} is user {}'s", to_text(name), held->key.owner.user)};
}

std::optional<ApiError> KeyRing::refusal(const KeyName& name, const Owner& owner) const {
  if (const HeldKey* const held = find(name)) {
    if (!held->unread.empty())
      return ApiError{503, fmt::format("the key {}: keys/{}: {}; until it is mended, or erased, no domain can have it",
                                       to_text(name), key_file(name), held->unread)};
    return foreign(name, owner);
  }
  const std::size_t most = is_master(owner.user, {}, ::geteuid()) ? of_a_master : of_a_user;
  const auto theirs =
      std::ranges::count_if(by_name_, [&](const auto& one) { return one.second.key.owner.user == owner.user; });
  if (static_cast<std::size_t>(theirs) < most) return std::nullopt;
  return ApiError{507, fmt::format("user {} has {} keys already, and may have {}", owner.user, theirs, most)};
}

tl::expected<DomainKey, std::string> KeyRing::power_on(const KeyName& name, const Owner& owner,
                                                       const std::string& domain) {
  DomainKey next;
  if (const HeldKey* const held = find(name)) {
    next = held->key;
  } else {
    next = {.name = name, .owner = owner, .made = utc_now(), .last_use = {}, .domain = {}, .key = random_secret()};
  }
  if (next.power_ons == std::numeric_limits<u32>::max())
    return tl::unexpected(fmt::format("the key {} has had all its power-ons", to_text(name)));
  ++next.power_ons;
  next.last_use = utc_now();
  next.domain = domain;
  TRY(records_.put_key(name, wrap_key(next, secrets_.wrap)));
  by_name_.insert_or_assign(name, HeldKey{.key = next});
  return next;
}

std::string KeyRing::id_of(const KeyName& name) const {
  const HeldKey* const held = find(name);
  if (held == nullptr || !held->unread.empty()) return {};
  return in_hex(hmac_sha256(held->key.key, "cloister id of key " + to_text(name)));
}

tl::expected<void, std::string> KeyRing::adopt(const KeyName& name, const Secret& key, u32 power_ons,
                                               const Owner& owner, const std::string& domain) {
  DomainKey next{.name = name, .owner = owner, .made = utc_now(), .last_use = {}, .domain = {}, .key = key};
  if (const HeldKey* const held = find(name)) {
    if (!held->unread.empty() || held->key.key != key)
      return tl::unexpected("the key " + to_text(name) + " is another one here");
    next = held->key;
  }
  next.power_ons = std::max(next.power_ons, power_ons);
  next.last_use = utc_now();
  next.domain = domain;
  TRY(records_.put_key(name, wrap_key(next, secrets_.wrap)));
  by_name_.insert_or_assign(name, HeldKey{.key = next});
  return {};
}

tl::expected<void, std::string> KeyRing::renew(const KeyName& name) {
  DomainKey next = find(name)->key;
  if (next.power_ons == std::numeric_limits<u32>::max())
    return tl::unexpected(fmt::format("the key {} has had all its power-ons", to_text(name)));
  next.key = random_secret();
  ++next.power_ons;
  next.made = next.last_use = utc_now();
  TRY(records_.put_key(name, wrap_key(next, secrets_.wrap)));
  by_name_.insert_or_assign(name, HeldKey{.key = next});
  return {};
}

/// The boot number is another one at each power-on, also after the state folder was put back from a backup, so that no
/// version of a page is encrypted twice under one key.
LaunchKeys KeyRing::launch_keys(const std::string& uuid, const SgxPlatform& platform) const {
  using Keys = SgxPlatform::Keys;
  constexpr u64 random_bits = 0xffff'ffff;
  const DomainKey& own = find(KeyName::of_domain(uuid))->key;
  LaunchKeys keys{.root = own.key, .paging = own.key, .boot = u64{own.power_ons} << 32};
  keys.boot |= random_boot_number() & random_bits;
  if (platform.keys == Keys::group) keys.root = find(KeyName::of_group(platform.group))->key.key;
  if (platform.keys == Keys::machine) keys.root = secrets_.platform;
  return keys;
}

tl::expected<void, std::string> KeyRing::erase(const KeyName& name) {
  const HeldKey* const held = find(name);
  if (held == nullptr) return {};
  if (!held->unread.empty()) {
    const auto moved = TRY(records_.set_aside_key(name));
    log(LogLevel::warning, "key-set-aside", {{"file", moved}, {"error", held->unread}});
  } else
    TRY(records_.remove_key(name));
  by_name_.erase(name);
  return {};
}

}  // namespace cloister::toolstack
