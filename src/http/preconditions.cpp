// Entity-tags and their comparison are those of RFC 9110, 8.8.3; the lists' form is that of 5.6.1, in which elements
// may be empty.
#include "http/preconditions.hpp"

#include <algorithm>
#include <string_view>

#include "text/shown.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::string_view blanks = " \t", weak_mark = "W/";

void skip(std::string_view& text, std::string_view what) {
  text.remove_prefix(std::min(text.find_first_not_of(what), text.size()));
}

/// A character between the quotes: no blank, no control character.
bool is_tag_character(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != '"' && byte != 0x7f;
}

/// The entity-tag that the text begins with, and takes it away.
std::optional<EntityTag> take_tag(std::string_view& text) {
  EntityTag tag;
  tag.weak = text.starts_with(weak_mark);
  if (tag.weak) text.remove_prefix(weak_mark.size());
  if (!text.starts_with('"')) return std::nullopt;
  const auto last = std::find_if_not(text.begin() + 1, text.end(), is_tag_character);
  if (last == text.end() || *last != '"') return std::nullopt;
  const auto size = static_cast<std::size_t>(last - text.begin()) + 1;
  tag.opaque = text.substr(0, size);
  text.remove_prefix(size);
  return tag;
}

bool strongly(const EntityTag& a, const EntityTag& b) { return !a.weak && !b.weak && a.opaque == b.opaque; }
bool weakly(const EntityTag& a, const EntityTag& b) { return a.opaque == b.opaque; }

bool has(const EntityTags& list, const std::string* tag, bool (*same)(const EntityTag&, const EntityTag&)) {
  if (tag == nullptr) return false;
  std::string_view text = *tag;
  const auto one = take_tag(text);
  return list.any || (one && std::ranges::any_of(list.tags, [&](const EntityTag& other) { return same(*one, other); }));
}

}  // namespace

tl::expected<EntityTags, std::string> read_entity_tags(std::span<const std::string> fields) {
  const auto found = [](const std::string& what) {
    return tl::unexpected("found " + what +
                          ", expected * alone, or entity-tags, each in double quotes, with commas between them");
  };
  EntityTags list;
  if (fields.size() == 1 && fields.front() == "*") {
    list.any = true;
    return list;
  }
  for (std::string_view rest : fields) {
    for (skip(rest, " \t,"); !rest.empty(); skip(rest, " \t,")) {
      const std::string_view from_here = rest;
      auto tag = take_tag(rest);
      if (!tag) return found(shown(from_here));
      list.tags.push_back(std::move(*tag));
      skip(rest, blanks);
      if (!rest.empty() && rest.front() != ',') return found(shown(rest) + " after an entity-tag");
    }
  }
  if (list.tags.empty()) return found("nothing");
  return list;
}

bool preconditions_hold(const Preconditions& conditions, const std::string* tag) {
  return (!conditions.match || has(*conditions.match, tag, strongly)) &&
         (!conditions.none_match || !has(*conditions.none_match, tag, weakly));
}

int status_of_read(const Preconditions& conditions, const std::string& tag) {
  if (!preconditions_hold({.match = conditions.match}, &tag)) return 412;
  return preconditions_hold(conditions, &tag) ? 200 : 304;
}

}  // namespace cloister::toolstack
