// UUIDs as text (RFC 4122, sections 3 and 4.3), by libuuid.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "arch/types.hpp"

namespace cloister::toolstack {

/// The canonical form: 32 hexadecimal digits, in lower case here, with dashes after 8, 12, 16 and 20 of them. Upper
/// case is read too. The error is what was expected, for "found …, expected …". The nil UUID, all zeros, is nobody's.
tl::expected<std::string, std::string> read_uuid(std::string_view text);

/// A random one (version 4), which nobody else has made.
std::string new_uuid();

/// That of a name in a space of names (version 5): the same for both, and no other name's.
std::string named_uuid(const std::array<u8, 16>& space, std::string_view name);

}  // namespace cloister::toolstack
