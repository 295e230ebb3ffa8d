// The keys of virtual platforms (domain_key.hpp) that the daemon has, whether domains with them live or not: they
// outlive domains, as what was sealed with them does. What is here is on disk, too: who changes one has put it there
// first.
//
// A file that cannot be understood stays where it is, and nobody gets a new key of its name until it is mended or
// erased.
//
// Thread rules: its owner's.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "daemon/api_error.hpp"
#include "daemon/domain_key.hpp"
#include "daemon/registry.hpp"
#include "daemon/secrets.hpp"
#include "protocol/launch.hpp"

namespace cloister::toolstack {

struct HeldKey {
  DomainKey key;
  std::string unread{};  ///< why its file cannot be understood, so that all but its name is unknown; empty: it can
};

class KeyRing {
 public:
  /// What one owner may have, a file each: root and the daemon's own user more. There is no sum over owners, so that
  /// nobody, and no number of users together, takes keys from another.
  static constexpr std::size_t of_a_user = 4096, of_a_master = 16384;

  /// The records must outlive it.
  KeyRing(const Records& records, const Secrets& secrets) : records_(records), secrets_(secrets) {}

  /// What an earlier daemon kept. The error is the folder's.
  tl::expected<void, std::string> read();

  /// The uuid of a user's domain of this name that has no other: no other user's here, and of no other state folder's.
  std::string uuid_of(const Owner& owner, const std::string& domain) const;

  /// Null: there is none. Until the next change.
  const HeldKey* find(const KeyName& name) const;
  /// Why it is another user's; nullopt: it is not.
  std::optional<ApiError> foreign(const KeyName& name, const Owner& owner) const;
  /// Why a domain of this user's can have no such key, be it there or made; nullopt: it can.
  std::optional<ApiError> refusal(const KeyName& name, const Owner& owner) const;
  /// The key for a domain's power-on, which is counted; it is made if there is none. After refusal().
  tl::expected<DomainKey, std::string> power_on(const KeyName& name, const Owner& owner, const std::string& domain);
  /// By which two daemons see whether a key of one name is the same one with both, and nobody learns what it is; empty:
  /// there is none, or its file cannot be understood.
  std::string id_of(const KeyName& name) const;
  /// A key that has come from another daemon with a domain of this owner's. An error if there is another one of its
  /// name.
  tl::expected<void, std::string> adopt(const KeyName& name, const Secret& key, u32 power_ons, const Owner& owner,
                                        const std::string& domain);
  /// Another key of this name, which counts as a power-on: what the one before has sealed opens no more. There is one.
  tl::expected<void, std::string> renew(const KeyName& name);
  /// What the VMM of a domain is given that has been powered on.
  LaunchKeys launch_keys(const std::string& uuid, const SgxPlatform& platform) const;
  /// For ever; a file that cannot be understood is set aside. It must be in nobody's use.
  tl::expected<void, std::string> erase(const KeyName& name);

  auto begin() const { return by_name_.begin(); }
  auto end() const { return by_name_.end(); }

 private:
  const Records& records_;
  const Secrets secrets_;
  std::map<KeyName, HeldKey> by_name_;
};

}  // namespace cloister::toolstack
