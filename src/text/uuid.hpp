// UUIDs as text (RFC 4122, section 3), by libuuid.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace cloister::toolstack {

/// The canonical form: 32 hexadecimal digits, in lower case here, with dashes after 8, 12, 16 and 20 of them. Upper
/// case is read too. The error is what was expected, for "found …, expected …". The nil UUID, all zeros, is nobody's.
tl::expected<std::string, std::string> read_uuid(std::string_view text);

/// A random one (version 4), which nobody else has made.
std::string new_uuid();

}  // namespace cloister::toolstack
