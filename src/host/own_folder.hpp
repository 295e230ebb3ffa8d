// Folders that are ours: no other user can put anything into them, or put another folder into their place. They are
// held by descriptors, and what is below them is opened by names without a slash, never through a link.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/files.hpp"

namespace cloister::toolstack {

enum class Making : u8 {
  never,    ///< a folder that is not there is an error
  missing,  ///< it is made, with those above it; one that is there is left as it is
};

/// Opens a folder that must be this process's user's, and writable by nobody else. Whoever could replace a part of its
/// path could replace it: so every folder above is root's or that user's, and writable by nobody else unless it is
/// sticky, and so is who made each link on the way. mode: of one that is made, less the umask. The error is for a
/// person, and names the part of the path that is wrong.
tl::expected<Fd, std::string> open_own_folder(const std::string& path, Making making, unsigned mode);

/// Opens a folder that is there, and is this process's user's or root's under the same conditions, as a place alone
/// (O_PATH): whatever is in it, no other user put it there.
tl::expected<Fd, std::string> open_trusted_folder(const std::string& path);

/// As open_own_folder(), for a folder in one that is open already, and no link. `parent`: its path, for messages.
tl::expected<Fd, std::string> open_own_subfolder(int folder, const std::string& name, Making making, unsigned mode,
                                                 const std::string& parent);

/// The names in a folder, sorted, without "." and "..".
tl::expected<std::vector<std::string>, std::string> names_in(int folder);

/// A regular file of this user's below a folder, read whole; never a link. nullopt: there is none.
tl::expected<std::optional<std::vector<u8>>, std::string> read_own_file(int folder, const std::string& name);

/// The same as text.
tl::expected<std::optional<std::string>, std::string> read_own_text(int folder, const std::string& name);

/// Holds a file of this name locked as long as the descriptor lives (flock(2)); `parent` is the folder's path, for
/// messages. `what`: who holds it otherwise.
tl::expected<Fd, std::string> lock_in(int folder, const std::string& name, const std::string& parent, const char* what);

}  // namespace cloister::toolstack
