// `cloister console`: the terminal and the domain's console socket, byte for byte, until Ctrl-] or the domain's end.
#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "client/api.hpp"
#include "client/client.hpp"
#include "host/exit_status.hpp"
#include "host/held_keys.hpp"
#include "host/terminal.hpp"
#include "host/unix_socket.hpp"

namespace cloister::toolstack::client {
namespace {

enum class End { escape, domain, output };

End pump(int console) {
  const bool terminal = ::isatty(STDIN_FILENO) != 0;
  ::fcntl(console, F_SETFL, O_NONBLOCK);
  std::array<u8, 4096> bytes;
  HeldKeys held;
  bool typing = true;
  while (true) {
    // A terminal is read on, for Ctrl-]; of anything else no byte is left out.
    const bool takes = typing && (terminal || held.room() >= bytes.size());
    std::array<pollfd, 2> wait{pollfd{takes ? STDIN_FILENO : -1, POLLIN, 0},
                               pollfd{console, static_cast<short>(held.empty() ? POLLIN : POLLIN | POLLOUT), 0}};
    if (::poll(wait.data(), wait.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return End::domain;
    }
    if ((wait[1].revents & ~POLLOUT) != 0) {
      const ssize_t got = ::read(console, bytes.data(), bytes.size());
      if (got <= 0) return End::domain;
      if (!write_all(STDOUT_FILENO, {bytes.data(), static_cast<std::size_t>(got)})) return End::output;
    }
    if (wait[0].revents != 0) {
      const ssize_t got = ::read(STDIN_FILENO, bytes.data(), bytes.size());
      typing = got > 0;  // else the console is still worth reading
      const auto end = bytes.begin() + std::max<ssize_t>(got, 0);
      const auto escape = terminal ? std::find(bytes.begin(), end, escape_key) : end;
      held.add({bytes.begin(), escape});
      if (escape != end) {
        (void)held.write_to(console);
        return End::escape;
      }
    }
    if (!held.write_to(console)) return End::domain;
  }
}

}  // namespace

int console(const Common& common, const std::string& domain) {
  const auto found = Api(common.run_folder).get(domain_path(domain));
  if (!found) {
    spdlog::error("{}", found.error().message);
    return found.error().exit_status;
  }
  const std::string path = found->value("console", "");
  if (path.empty()) {
    spdlog::error("cloister: '{}' is shut off", found->value("name", domain));
    return exit_status::failed;
  }
  const Fd socket = connect_to(path, SOCK_STREAM);
  if (!socket) {
    spdlog::error("cloister: cannot attach to the console of {} at '{}': {}", domain, path, std::strerror(errno));
    return exit_status::failed;
  }
  End end;
  {
    const RawTerminal terminal(STDIN_FILENO);
    if (terminal.active()) spdlog::info("cloister: the console of {}; Ctrl-] detaches", domain);
    end = pump(socket.get());
  }
  if (end == End::escape) spdlog::info("\ncloister: detached from {}", domain);
  if (end == End::domain) spdlog::info("cloister: the console of {} has ended", domain);
  return end == End::output ? exit_status::failed : 0;
}

}  // namespace cloister::toolstack::client
