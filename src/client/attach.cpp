// `cloister console`: the terminal and the domain's console socket, byte for byte, until Ctrl-] or the domain's end.
#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "client/api.hpp"
#include "client/client.hpp"
#include "host/exit_status.hpp"
#include "host/held_keys.hpp"
#include "host/stoppable_write.hpp"
#include "host/terminal.hpp"
#include "host/unix_socket.hpp"

namespace cloister::toolstack::client {
namespace {

enum class End { escape, domain, output };

/// Both directions. What stdout's reader does not take holds up no key: keys are read on while it is waited for.
class Pump {
 public:
  explicit Pump(int console) : console_(console) { ::fcntl(console, F_SETFL, O_NONBLOCK); }

  End run() {
    while (true) {
      std::array<pollfd, 2> wait{pollfd{takes_keys() ? STDIN_FILENO : -1, POLLIN, 0},
                                 pollfd{console_, static_cast<short>(held_.empty() ? POLLIN : POLLIN | POLLOUT), 0}};
      if (::poll(wait.data(), wait.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return End::domain;
      }
      if (wait[0].revents != 0) read_keys();
      if (!escaped_ && (wait[1].revents & ~POLLOUT) != 0) {
        const ssize_t got = ::read(console_, bytes_.data(), bytes_.size());
        if (got <= 0) return End::domain;
        if (!show({bytes_.data(), static_cast<std::size_t>(got)})) return End::output;
      }
      const bool written = held_.write_to(console_);
      if (escaped_) return End::escape;
      if (!written) return End::domain;
    }
  }

 private:
  /// A terminal is read on, for Ctrl-]; of anything else no byte is left out.
  bool takes_keys() const { return typing_ && (terminal_ || held_.room() >= keys_.size()); }

  void read_keys() {
    const ssize_t got = ::read(STDIN_FILENO, keys_.data(), keys_.size());
    typing_ = got > 0;  // else the console is still worth reading
    const auto end = keys_.begin() + std::max<ssize_t>(got, 0);
    const auto escape = terminal_ ? std::find(keys_.begin(), end, escape_key) : end;
    held_.add({keys_.begin(), escape});
    escaped_ = escape != end;
  }

  /// False: it cannot be written. Given up after Ctrl-] alone.
  bool show(std::span<const u8> bytes) {
    const auto escaped = [this] {
      pollfd keys{takes_keys() && !escaped_ ? STDIN_FILENO : -1, POLLIN, 0};
      if (::poll(&keys, 1, 0) > 0) read_keys();
      (void)held_.write_to(console_);  // whose end is seen when it is read
      return escaped_;
    };
    return write_unless(escaped, STDOUT_FILENO, bytes) != Written::failed;
  }

  const int console_;
  const bool terminal_ = ::isatty(STDIN_FILENO) != 0;
  std::array<u8, 4096> bytes_{}, keys_{};
  HeldKeys held_;
  bool typing_ = true, escaped_ = false;
};

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
    end = Pump(socket.get()).run();
  }
  if (end == End::escape) spdlog::info("\ncloister: detached from {}", domain);
  if (end == End::domain) spdlog::info("cloister: the console of {} has ended", domain);
  return end == End::output ? exit_status::failed : 0;
}

}  // namespace cloister::toolstack::client
