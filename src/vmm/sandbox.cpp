// Outermost first: descriptors, root directory, user, privileges by exec(), memory images, at last system calls.
//
// Standard error stays open: it is a pipe to the daemon, which writes the log.
#include "vmm/sandbox.hpp"

#include <grp.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "arch/try.hpp"
#include "host/sanitized.hpp"
#include "hypervisor/devices/unix_peers.hpp"
#include "protocol/launch.hpp"
#include "vmm/seccomp_filter.hpp"

namespace cloister::toolstack {

namespace {

using Done = tl::expected<void, std::string>;

tl::unexpected<std::string> failed(const char* what) {
  return tl::unexpected(std::string(what).append(": ").append(std::strerror(errno)));
}

/// Files that libraries would open later on: the time zone, OpenSSL's configuration (which we do not want), and what
/// malloc() looks at when it makes its ninth arena (how many processors there are) or returns memory of any but the
/// first (whether the host overcommits). With one arena it does neither; threads have caches of their own.
Done prepare_libraries() {
  // A sanitizer's own malloc() has no arenas, and refuses.
  if (!sanitized && ::mallopt(M_ARENA_MAX, 1) != 1) return tl::unexpected(std::string("malloc() keeps several arenas"));
  ::tzset();
  if (::OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr) != 1)
    return tl::unexpected(std::string("OpenSSL cannot be set up"));
  return {};
}

struct Identity {
  uid_t user;
  gid_t group;
};

/// The user `cloister` if there is one, else `nobody`; the group of `nobody` in any case, because members of the group
/// `cloister` may use the daemon.
tl::expected<Identity, std::string> unprivileged() {
  const passwd* const nobody = ::getpwnam("nobody");
  if (nobody == nullptr) return tl::unexpected(std::string("there is no user 'nobody'"));
  Identity identity{nobody->pw_uid, nobody->pw_gid};
  if (const passwd* const own = ::getpwnam("cloister")) identity.user = own->pw_uid;
  if (identity.user == 0 || identity.group == 0) return tl::unexpected(std::string("the user is root by another name"));
  return identity;
}

/// Takes all capabilities with it (capabilities(7), "Effect of user ID changes").
Done become(const Identity& identity) {
  if (::fchdir(launch_fd::root) != 0 || ::chroot(".") != 0) return failed("chroot");
  if (::setgroups(0, nullptr) != 0) return failed("setgroups");
  if (::setresgid(identity.group, identity.group, identity.group) != 0) return failed("setresgid");
  if (::setresuid(identity.user, identity.user, identity.user) != 0) return failed("setresuid");
  return {};
}

/// A lower limit stays.
Done limit(__rlimit_resource resource, rlim_t most) {
  rlimit both{};
  if (::getrlimit(resource, &both) != 0) return failed("getrlimit");
  both.rlim_max = std::min(both.rlim_max, most);
  both.rlim_cur = both.rlim_max;
  if (::setrlimit(resource, &both) != 0) return failed("setrlimit");
  return {};
}

/// Connections, viewers, and what is ours: all that a VMM can need (service.hpp, console_hub.hpp).
constexpr rlim_t most_descriptors =
    128 + 2 * most_disks + (1 + most_interface_queues) * most_interfaces + hypervisor::UnixPeers::most_descriptors;

/// What every build gives up.
Done give_up_privileges() {
  ::close(launch_fd::root);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("no_new_privs");
  // A core would have the guest's memory and the platform's secret.
  TRY(limit(RLIMIT_CORE, 0));
  return limit(RLIMIT_NOFILE, most_descriptors);
}

}  // namespace

bool sandbox_is_whole() { return !sanitized; }

tl::expected<void, std::string> enter_sandbox() {
  TRY(prepare_libraries());
  if (::close_range(launch_fd::last + 1, ~0U, 0) != 0) return failed("close_range");
  if constexpr (sanitized) return give_up_privileges();

  if (::geteuid() == 0) {
    const auto identity = TRY(unprivileged());
    TRY(become(identity));
  }
  TRY(give_up_privileges());
  // Other processes of the same user, other VMMs among them, can then neither trace it nor read its memory (ptrace(2)).
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("not dumpable");
  return install_seccomp_filter();
}

}  // namespace cloister::toolstack
