// Whole files, and all of what is written to a descriptor.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister::toolstack {

/// More than any text has that people or tools write.
inline constexpr u64 longest_text = 64 << 20;

/// The bytes from the descriptor's offset to its end; the error is the system's, or says that they are more than
/// `most`.
tl::expected<std::vector<u8>, std::string> read_all(int fd, u64 most = longest_text);
/// The same of a regular file, a pipe or a device; read_file() reads up to longest_text.
tl::expected<std::vector<u8>, std::string> read_up_to(const std::string& path, u64 most);
tl::expected<std::vector<u8>, std::string> read_file(const std::string& path);

/// Writes all; false if the descriptor takes no more.
bool write_all(int fd, std::span<const u8> bytes);
/// The same of a program's answer, to standard output.
bool print(std::string_view text);

}  // namespace cloister::toolstack
