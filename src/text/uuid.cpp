// UUIDs as text, by libuuid.
#include "text/uuid.hpp"

#include <uuid/uuid.h>

namespace cloister::toolstack {

namespace {

std::string text_of(const uuid_t& uuid) {
  char text[UUID_STR_LEN];
  uuid_unparse_lower(uuid, text);
  return text;
}

}  // namespace

tl::expected<std::string, std::string> read_uuid(std::string_view text) {
  uuid_t uuid;
  if (uuid_parse_range(text.data(), text.data() + text.size(), uuid) != 0) {
    return tl::unexpected(std::string("a UUID, such as \"c7a5fdbd-edaf-9455-926a-d65c16db1809\""));
  }
  if (uuid_is_null(uuid) != 0) return tl::unexpected(std::string("a UUID other than the nil one, which is nobody's"));
  return text_of(uuid);
}

std::string new_uuid() {
  uuid_t uuid;
  uuid_generate_random(uuid);
  return text_of(uuid);
}

std::string named_uuid(const std::array<u8, 16>& space, std::string_view name) {
  uuid_t uuid;
  uuid_generate_sha1(uuid, space.data(), name.data(), name.size());
  return text_of(uuid);
}

}  // namespace cloister::toolstack
