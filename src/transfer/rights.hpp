// As whom a process goes on, for good.
#pragma once

#include <string>
#include <tl/expected.hpp>

namespace cloister::toolstack {

/// Root's becomes the user `nobody`'s, and nobody's gets any more rights: for who reads what strangers send.
tl::expected<void, std::string> become_nobody();
/// Root's becomes this user's, with all groups; another one's must be this user's already.
tl::expected<void, std::string> become_user(const std::string& name);

}  // namespace cloister::toolstack
