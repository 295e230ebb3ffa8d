// Whole files of strangers: no more of them than there is use for.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"

namespace cloister::toolstack {

/// A CPUID dump: that of the machine with the most processors has all its leaves many times over.
inline constexpr u64 longest_dump = 16 << 20;

/// The bytes from the descriptor's offset to its end. The error is the system's, or says that they are more than
/// `most`: of a regular file before any of them is read.
tl::expected<std::vector<u8>, std::string> read_within(int fd, u64 most);
/// The same of a regular file from its first byte. What is none is an error, and nothing is waited for.
tl::expected<std::vector<u8>, std::string> read_within(const std::string& path, u64 most);

}  // namespace cloister::toolstack
