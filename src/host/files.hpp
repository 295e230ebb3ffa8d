// Descriptors: opening one, and reading and writing through it. Reading until the end is whole_file.hpp's.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "host/fd.hpp"

namespace cloister::toolstack {

/// Opens a path, through which no link of the kernel's own leads into a process (/proc/PID/fd/N; openat2(2)). Else
/// errno says why.
Fd open_outside_processes(const std::string& path, u64 flags);
/// The same of a path below an open folder, which neither leaves it nor leads through any link.
Fd open_beneath(int folder, const std::string& path, u64 flags);
/// What ELOOP means there.
inline constexpr const char* too_many_links = "it leads through too many links, or one into a process (/proc/PID/fd/N)";

/// Reads what is there, whatever signal comes; 0: the end. The error is the system's.
tl::expected<std::size_t, std::string> read_some(int fd, std::span<u8> to);
/// Reads so many; false if it ends before, or fails.
bool read_all(int fd, std::span<u8> to);
/// Writes all; false if the descriptor takes no more.
bool write_all(int fd, std::span<const u8> bytes);
/// The same of a program's answer, to standard output.
bool print(std::string_view text);

}  // namespace cloister::toolstack
