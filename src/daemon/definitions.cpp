// A text was checked when it was defined, maybe by another version.
#include "daemon/definitions.hpp"

#include <algorithm>

#include "text/uuid.hpp"

namespace cloister::toolstack {

Defined read_defined(Definition definition) {
  Defined defined;
  if (auto read = read_config(definition.text)) {
    defined.config = std::move(read->config);
  } else {
    defined.config.name = definition.name;
    defined.unread = format(definition.file, read.error());
  }
  defined.definition = std::move(definition);
  return defined;
}

void Definitions::put(Defined defined) {
  const std::string uuid = defined.definition.uuid;
  by_uuid_.insert_or_assign(uuid, std::move(defined));
}

const Defined* Definitions::find(const std::string& key) const {
  const auto uuid = read_uuid(key);
  return uuid ? with_uuid(*uuid) : with_name(key);
}

const Defined* Definitions::with_name(const std::string& name) const {
  const auto found =
      std::ranges::find_if(by_uuid_, [&](const auto& entry) { return entry.second.definition.name == name; });
  return found == by_uuid_.end() ? nullptr : &found->second;
}

const Defined* Definitions::with_uuid(const std::string& uuid) const {
  const auto found = by_uuid_.find(uuid);
  return found == by_uuid_.end() ? nullptr : &found->second;
}

std::size_t Definitions::count_of(unsigned user) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(by_uuid_, [&](const auto& entry) { return entry.second.definition.owner.user == user; }));
}

}  // namespace cloister::toolstack
