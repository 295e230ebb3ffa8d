// Writing to a descriptor until all is written. Reading is whole_file.hpp's.
#pragma once

#include <span>
#include <string_view>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister::toolstack {

/// Writes all; false if the descriptor takes no more.
bool write_all(int fd, std::span<const u8> bytes);
/// The same of a program's answer, to standard output.
bool print(std::string_view text);

}  // namespace cloister::toolstack
