// The domains that are defined, whether they run or not, by uuid. What is here is on disk, too: who changes one has put
// it there first.
//
// Thread rules: its owner's.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "config/config.hpp"
#include "daemon/definition.hpp"

namespace cloister::toolstack {

struct Defined {
  Definition definition;
  DomainConfig config;  ///< of the text; with the name alone if this version cannot read it
  std::string unread;   ///< why it cannot; empty: it can
};

class Definitions {
 public:
  /// A file each: so many, and a folder of them, are enough.
  static constexpr std::size_t most = 4096;

  void put(Definition definition);
  void remove(const std::string& uuid) { by_uuid_.erase(uuid); }

  /// `key`: a name or a uuid. Null: none. Until the next change.
  const Defined* find(const std::string& key) const;
  const Defined* with_name(const std::string& name) const;
  const Defined* with_uuid(const std::string& uuid) const;
  std::size_t count() const { return by_uuid_.size(); }

  auto begin() const { return by_uuid_.begin(); }
  auto end() const { return by_uuid_.end(); }

 private:
  std::map<std::string, Defined> by_uuid_;
};

}  // namespace cloister::toolstack
