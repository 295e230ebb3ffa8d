// `cloister console`: the terminal and the domain's console socket, byte for byte, until Ctrl-] or the domain's end.
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "client/api.hpp"
#include "client/client.hpp"
#include "host/exit_status.hpp"
#include "host/terminal.hpp"
#include "host/unix_socket.hpp"

namespace cloister::toolstack::client {
namespace {

enum class End { escape, domain, output };

End pump(int console) {
  std::array<pollfd, 2> wait{pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{console, POLLIN, 0}};
  std::array<u8, 4096> bytes;
  while (true) {
    if (::poll(wait.data(), wait.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return End::domain;
    }
    if (wait[1].revents != 0) {
      const ssize_t got = ::read(console, bytes.data(), bytes.size());
      if (got <= 0) return End::domain;
      if (!write_all(STDOUT_FILENO, {bytes.data(), static_cast<std::size_t>(got)})) return End::output;
    }
    if (wait[0].revents != 0) {
      const ssize_t got = ::read(STDIN_FILENO, bytes.data(), bytes.size());
      if (got <= 0) {
        wait[0].fd = -1;  // no more to type; the console is still worth reading
        continue;
      }
      const auto end = bytes.begin() + got;
      const auto escape = ::isatty(STDIN_FILENO) != 0 ? std::find(bytes.begin(), end, escape_key) : end;
      if (!write_all(console, {bytes.begin(), escape})) return End::domain;
      if (escape != end) return End::escape;
    }
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
