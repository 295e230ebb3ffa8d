// A text was checked when it was defined, maybe by another version.
#include "daemon/definitions.hpp"

#include <fmt/format.h>

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

std::vector<Definitions::NotTaken> Definitions::take(const std::vector<Definition>& read) {
  std::vector<NotTaken> rest;
  for (const Definition& definition : read) {
    if (const Defined* const other = with_name(definition.name)) {
      rest.push_back({definition.uuid, "its name is that of " + other->definition.uuid});
      continue;
    }
    Defined anew = read_defined(definition);
    if (anew.config.name == definition.name) {
      put(std::move(anew));
    } else {
      rest.push_back({definition.uuid, "its text has the name '" + anew.config.name + "'"});
    }
  }
  return rest;
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

std::optional<std::string> Definitions::no_room_for(const Definition& next, const Bound& bound) const {
  const Defined* const before = with_uuid(next.uuid);
  Bound others{};
  for (const auto& [uuid, other] : by_uuid_) {
    if (&other == before || other.definition.owner.user != next.owner.user) continue;
    ++others.count;
    others.bytes += other.definition.text.size();
  }
  if (before == nullptr && others.count >= bound.count)
    return fmt::format("user {} has {} definitions already, and may have {}", next.owner.user, others.count,
                       bound.count);
  if (before != nullptr && next.text.size() <= before->definition.text.size()) return std::nullopt;
  if (others.bytes + next.text.size() <= bound.bytes) return std::nullopt;
  return fmt::format(
      "user {} has definitions with texts of {} bytes already, and may have {} MiB: this one has {} bytes",
      next.owner.user, others.bytes, bound.bytes >> 20, next.text.size());
}

}  // namespace cloister::toolstack
