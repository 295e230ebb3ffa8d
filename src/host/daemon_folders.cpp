// By the XDG Base Directory Specification: paths that are not absolute are ignored.
#include "host/daemon_folders.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "arch/types.hpp"
#include "host/unix_socket.hpp"

namespace cloister::toolstack {

namespace {

constexpr const char* machine_run = "/run/cloister";

/// A path in the environment; empty: it is not set.
std::string path_in(const char* variable) {
  const char* const value = std::getenv(variable);
  return value != nullptr && *value == '/' ? value : "";
}

std::string with_home(const char* variable, const char* below_home, const char* name) {
  if (const std::string own = path_in(variable); !own.empty()) return own + "/" + name;
  if (const std::string home = path_in("HOME"); !home.empty()) return home + "/" + below_home + "/" + name;
  return {};
}

std::string user_run_in_state() {
  const std::string state = default_daemon_state();
  return state.empty() ? state : state + "/run";
}

/// Empty: there is none, or it is another user's, as after su.
std::string user_run_in_session() {
  const std::string folder = path_in("XDG_RUNTIME_DIR");
  struct stat status {};
  if (folder.empty() || ::stat(folder.c_str(), &status) != 0 || status.st_uid != ::geteuid()) return {};
  return folder + "/cloister";
}

/// That of a session which this process is not in, as after su or in a job of cron's. A link in it was somebody else's.
std::string user_run_in_other_session() {
  const std::string folder = "/run/user/" + std::to_string(::geteuid());
  struct stat status {};
  if (::lstat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != ::geteuid()) return {};
  return folder + "/cloister";
}

enum class Socket : u8 { none, left, heard };

/// `left`: its daemon died, and nobody listens.
Socket socket_in(const std::string& run) {
  const std::string path = run + "/cloisterd.sock";
  struct stat status {};
  if (run.empty() || ::stat(path.c_str(), &status) != 0) return Socket::none;
  // One that has many callers waiting, or refuses this one, is there.
  return connect_to(path, SOCK_STREAM | SOCK_NONBLOCK) || errno != ECONNREFUSED ? Socket::heard : Socket::left;
}

}  // namespace

std::string default_daemon_state() {
  if (::geteuid() == 0) return "/var/lib/cloister";
  return with_home("XDG_STATE_HOME", ".local/state", "cloisterd");
}

std::string default_daemon_run() {
  if (::geteuid() == 0) return machine_run;
  const std::string session = user_run_in_session();
  return session.empty() ? user_run_in_state() : session;
}

std::string find_daemon_run() {
  if (const char* const own = std::getenv("CLOISTER_RUN"); own != nullptr && *own != '\0') return own;
  if (::geteuid() == 0) return machine_run;
  // A socket without a daemon says at least whose daemon is meant.
  std::string left;
  for (const std::string& run : {user_run_in_session(), user_run_in_other_session(), user_run_in_state()}) {
    const Socket socket = socket_in(run);
    if (socket == Socket::heard) return run;
    if (socket == Socket::left && left.empty()) left = run;
  }
  return left.empty() ? machine_run : left;
}

}  // namespace cloister::toolstack
