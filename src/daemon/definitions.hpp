// The domains that are defined, whether they run or not, by uuid. What is here is on disk, too: who changes one has put
// it there first.
//
// Thread rules: its owner's.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "daemon/definition.hpp"

namespace cloister::toolstack {

struct Defined {
  Definition definition;
  DomainConfig config;  ///< of the text; with the name alone if this version cannot read it
  std::string unread;   ///< why it cannot; empty: it can
};

/// Reads a definition's text, which may be long: without a lock that others wait for.
Defined read_defined(Definition definition);

class Definitions {
 public:
  /// What one owner may have: a file each, and the bytes of all texts, which are in memory, too. There is no sum over
  /// owners, so that nobody, and no number of users together, takes room from another.
  struct Bound {
    std::size_t count;
    u64 bytes;
  };
  static constexpr Bound of_a_user{1024, 16 << 20};
  static constexpr Bound of_a_master{4096, 64 << 20};  ///< root, and the daemon's own user

  void put(Defined defined);
  void remove(const std::string& uuid) { by_uuid_.erase(uuid); }

  /// `key`: a name or a uuid. Null: none. Until the next change.
  const Defined* find(const std::string& key) const;
  const Defined* with_name(const std::string& name) const;
  const Defined* with_uuid(const std::string& uuid) const;
  /// Why there is no room for a definition, a new one or another text of one that is there; nullopt: there is. bound:
  /// of its owner.
  std::optional<std::string> no_room_for(const Definition& next, const Bound& bound) const;

  /// Those of a daemon that starts, one after the other; the rest, which it sets aside.
  struct NotTaken {
    std::string uuid, why;
  };
  std::vector<NotTaken> take(const std::vector<Definition>& read);

  auto begin() const { return by_uuid_.begin(); }
  auto end() const { return by_uuid_.end(); }

 private:
  std::map<std::string, Defined> by_uuid_;
};

}  // namespace cloister::toolstack
