// The preconditions of a request (RFC 9110, 13.1): it is made for what has one of these entity-tags, or none of them,
// so that of two who change the same thing the second sees that there was a first.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

namespace cloister::toolstack {

struct EntityTag {
  std::string opaque;  ///< with its quotes
  bool weak = false;   ///< W/
  bool operator==(const EntityTag&) const = default;
};

/// What If-Match or If-None-Match says.
struct EntityTags {
  bool any = false;  ///< `*`
  std::vector<EntityTag> tags{};
  bool operator==(const EntityTags&) const = default;
};

/// `fields`: the values of all fields of one name, which together are one list (5.3). One of no entity-tags is refused,
/// though 5.6.1 knows it: it is a variable that was empty, and an If-None-Match of none would hold for everything.
tl::expected<EntityTags, std::string> read_entity_tags(std::span<const std::string> fields);

struct Preconditions {
  std::optional<EntityTags> match{}, none_match{};
};

/// Whether what a request is about is what the request is made for. tag: its entity-tag, as ETag has it; null: there is
/// nothing.
bool preconditions_hold(const Preconditions& conditions, const std::string* tag);

/// The status of an answer to GET or HEAD that would have been 200, with this ETag (13.2.2): that, 304 or 412.
int status_of_read(const Preconditions& conditions, const std::string& tag);

}  // namespace cloister::toolstack
