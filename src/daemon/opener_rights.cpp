#include "daemon/opener_rights.hpp"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "arch/types.hpp"

namespace cloister::toolstack {

namespace {

tl::unexpected<std::string> not_taken(const char* what) {
  return tl::unexpected(std::string(what) + ": " + std::strerror(errno));
}

/// All others go (capabilities(7)). These are of the first 32.
RightsTaken keep_capabilities(u32 kept) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, data) != 0) return not_taken("capget");
  for (__user_cap_data_struct& word : data) {
    const bool first = &word == data;
    word.permitted &= first ? kept : 0u;
    word.effective = word.permitted;
    word.inheritable = 0;
  }
  if (::syscall(SYS_capset, &header, data) != 0) return not_taken("capset");
  return {};
}

RightsTaken leave_surroundings() {
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return not_taken("setrlimit");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return not_taken("no_new_privs");
  if (::chdir("/") != 0) return not_taken("chdir");
  return {};
}

}  // namespace

RightsTaken become(const Owner& owner) {
  TRY(leave_surroundings());
  if (::geteuid() == 0) {
    if (::setgroups(owner.groups.size(), owner.groups.data()) != 0) return not_taken("setgroups");
    if (::setresgid(owner.group, owner.group, owner.group) != 0) return not_taken("setresgid");
    if (::setresuid(owner.user, owner.user, owner.user) != 0) return not_taken("setresuid");
    // A number that means "as it is" would have left it as it was.
    uid_t user[3];
    gid_t group[3];
    if (::getresuid(&user[0], &user[1], &user[2]) != 0 || ::getresgid(&group[0], &group[1], &group[2]) != 0)
      return not_taken("getresuid");
    for (const uid_t one : user) {
      if (one != owner.user) return tl::unexpected<std::string>("the user was not taken on");
    }
    for (const gid_t one : group) {
      if (one != owner.group) return tl::unexpected<std::string>("the group was not taken on");
    }
  }
  // Root's own right to read what others keep to themselves is a capability.
  TRY(keep_capabilities(owner.user == 0 && ::geteuid() == 0 ? 1u << CAP_DAC_READ_SEARCH : 0u));
  // The owner's other processes neither trace it nor read its memory.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return not_taken("not dumpable");
  return {};
}

RightsTaken keep_network_rights() {
  TRY(leave_surroundings());
  TRY(keep_capabilities(1u << CAP_NET_ADMIN));
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return not_taken("not dumpable");
  return {};
}

}  // namespace cloister::toolstack
