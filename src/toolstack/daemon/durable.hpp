// Files that are whole whenever the machine stops: written aside, synced, renamed, and the folder synced too.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace cloister::toolstack {

/// Names that end so are of files that were being written.
inline constexpr std::string_view unfinished_suffix = ".new";

/// Replaces the file, mode 0600. The error names it.
tl::expected<void, std::string> write_durably(const std::filesystem::path& path, std::string_view text);
/// Removes it, if it is there.
tl::expected<void, std::string> remove_durably(const std::filesystem::path& path);

}  // namespace cloister::toolstack
