#include "config/sgx_platform.hpp"

#include "config/domain_name.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::string_view own_keys = "private", machine_keys = "machine", group_keys = "group:";

}  // namespace

std::string to_text(const SgxPlatform& platform) {
  switch (platform.keys) {
    case SgxPlatform::Keys::own: return std::string(own_keys);
    case SgxPlatform::Keys::machine: return std::string(machine_keys);
    case SgxPlatform::Keys::group: break;
  }
  return std::string(group_keys).append(platform.group);
}

tl::expected<SgxPlatform, std::string> read_sgx_platform(std::string_view text) {
  if (text == own_keys) return SgxPlatform{};
  if (text == machine_keys) return SgxPlatform{.keys = SgxPlatform::Keys::machine};
  if (text.starts_with(group_keys) && valid_name(text.substr(group_keys.size())))
    return SgxPlatform{.keys = SgxPlatform::Keys::group, .group = std::string(text.substr(group_keys.size()))};
  return tl::unexpected(std::string("\"private\", \"machine\" or \"group:NAME\", with a NAME as a domain may have"));
}

}  // namespace cloister::toolstack
