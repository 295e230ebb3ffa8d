// Whole files, and all of what is written to a descriptor.
#pragma once

#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister::toolstack {

/// The bytes from the descriptor's offset to its end; the error is the system's.
tl::expected<std::vector<u8>, std::string> read_all(int fd);
/// The bytes of a regular file (or a pipe); the error is the system's.
tl::expected<std::vector<u8>, std::string> read_file(const std::string& path);

/// Writes all; false if the descriptor takes no more.
bool write_all(int fd, std::span<const u8> bytes);

}  // namespace cloister::toolstack
