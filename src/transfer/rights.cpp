#include "transfer/rights.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"

namespace cloister::toolstack {

namespace {

tl::unexpected<std::string> no_right(const char* what) {
  return tl::unexpected(std::string(what) + ": " + std::strerror(errno));
}

tl::expected<void, std::string> take_on(uid_t user, gid_t group) {
  if (::setresgid(group, group, group) != 0) return no_right("setresgid");
  if (::setresuid(user, user, user) != 0) return no_right("setresuid");
  if (::geteuid() != user || ::getegid() != group) return tl::unexpected(std::string("the user was not taken on"));
  return {};
}

tl::expected<void, std::string> no_more() {
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return no_right("setrlimit");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return no_right("no_new_privs");
  return {};
}

}  // namespace

tl::expected<void, std::string> become_nobody() {
  TRY(no_more());
  if (::geteuid() == 0) {
    constexpr unsigned usual = 65534;
    const passwd* const nobody = ::getpwnam("nobody");
    const uid_t user = nobody == nullptr ? usual : nobody->pw_uid;
    const gid_t group = nobody == nullptr ? usual : nobody->pw_gid;
    if (::setgroups(0, nullptr) != 0) return no_right("setgroups");
    TRY(take_on(user, group));
  }
  // It has a key, which others of its user's must not read.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return no_right("not dumpable");
  return {};
}

tl::expected<void, std::string> become_user(const std::string& name) {
  errno = 0;
  const passwd* const user = ::getpwnam(name.c_str());
  if (user == nullptr) return tl::unexpected(fmt::format("there is no user '{}' here", name));
  if (::geteuid() != 0) {
    if (user->pw_uid == ::geteuid()) return no_more();
    return tl::unexpected(fmt::format("this daemon is user {}'s, and has no domain of '{}'s", ::geteuid(), name));
  }
  TRY(no_more());
  if (::initgroups(name.c_str(), user->pw_gid) != 0) return no_right("initgroups");
  return take_on(user->pw_uid, user->pw_gid);
}

}  // namespace cloister::toolstack
