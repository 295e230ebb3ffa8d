// Whole files: no more of them than there is use for, whoever wrote them and whatever they are.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"

namespace cloister::toolstack {

/// A domain's configuration, settings, keys: what people write. The daemon's requests have no more.
inline constexpr u64 longest_config = 1 << 20;
/// A machine's description, and what programs write about hosts and domains: it grows with their number.
inline constexpr u64 longest_text = 16 << 20;
/// A CPUID dump: that of the machine with the most processors has all its leaves many times over.
inline constexpr u64 longest_dump = 16 << 20;
/// What our own programs keep or hand on: it grows with the extents of EPC that a domain has.
inline constexpr u64 longest_own = 1 << 30;

/// The bytes from the descriptor's offset to its end. The error is the system's, or says that they are more than
/// `most`: of a regular file before any of them is read.
tl::expected<std::vector<u8>, std::string> read_within(int fd, u64 most);
/// The same of a file, a pipe or a device from its first byte.
tl::expected<std::vector<u8>, std::string> read_within(const std::string& path, u64 most);
/// The same of a regular file. What is none is an error, and nothing is waited for.
tl::expected<std::vector<u8>, std::string> read_regular(const std::string& path, u64 most);

}  // namespace cloister::toolstack
