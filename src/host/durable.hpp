// Files that are whole whenever the machine stops: written aside, synced, renamed, and the folder synced too. Folders
// are open, and names in them have no slash.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace cloister::toolstack {

/// Names that end so are of files that were being written.
inline constexpr std::string_view unfinished_suffix = ".new";
/// What such a file was to become; empty: it is none.
constexpr std::string_view unfinished_of(std::string_view name) {
  return name.ends_with(unfinished_suffix) ? name.substr(0, name.size() - unfinished_suffix.size()) : "";
}

/// Replaces the file, mode 0600. The error names it.
tl::expected<void, std::string> write_durably(int folder, const std::string& name, std::string_view text);
/// Removes it, if it is there.
tl::expected<void, std::string> remove_durably(int folder, const std::string& name);
/// Moves it to another folder under a name that was free there, which it returns.
tl::expected<std::string, std::string> move_durably(int folder, const std::string& name, int to);

}  // namespace cloister::toolstack
