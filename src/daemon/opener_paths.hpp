// How an opener (daemon/opener.hpp) opens a path, with the rights that it has by now: without waiting for what is
// there.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "host/files.hpp"

namespace cloister::toolstack {

inline constexpr const char* not_regular = "not a regular file";

/// An absolute path.
tl::expected<Fd, std::string> open_path(const std::string& path, int access);
/// What a folder has below it, by no link and nowhere else.
tl::expected<Fd, std::string> open_path_below(const std::string& folder, const std::string& path, int access);

}  // namespace cloister::toolstack
