// `cloister vsock`: standard input and output, and a port of the guest's, byte for byte, until the guest has ended what
// it sends. So `ssh -o ProxyCommand="cloister vsock NAME 22" …` reaches a guest without a network.
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "client/api.hpp"
#include "client/client.hpp"
#include "host/exit_status.hpp"
#include "host/unix_socket.hpp"

namespace cloister::toolstack::client {
namespace {

/// Bytes on their way from one descriptor to another.
class Way {
 public:
  Way(int from, int to) : from_(from), to_(to) {}
  bool ended() const { return ended_ && begin_ == end_; }
  bool failed() const { return failed_; }
  pollfd to_poll() const {
    if (begin_ != end_) return {.fd = to_, .events = POLLOUT, .revents = 0};
    return {.fd = ended_ ? -1 : from_, .events = POLLIN, .revents = 0};
  }
  void go_on() {
    const bool reads = begin_ == end_;
    const ssize_t some = reads ? ::read(from_, bytes_.data(), bytes_.size())
                               : ::write(to_, bytes_.data() + begin_, std::min(end_ - begin_, at_once));
    if (some < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (reads) {
      begin_ = 0;
      end_ = static_cast<std::size_t>(std::max<ssize_t>(some, 0));
      ended_ = some <= 0;
    } else if (some < 0) {
      failed_ = ended_ = true;
      begin_ = end_;
    } else {
      begin_ += static_cast<std::size_t>(some);
    }
  }

 private:
  /// What a pipe takes that is ready for any (pipe(7)), so that no way waits for the other.
  static constexpr std::size_t at_once = 4096;
  const int from_, to_;
  std::array<char, 64 << 10> bytes_{};
  std::size_t begin_ = 0, end_ = 0;
  bool ended_ = false, failed_ = false;
};

/// A guest that has not answered a call by then does not.
constexpr timeval most_silence{.tv_sec = 30, .tv_usec = 0};

/// "OK …", which comes when the guest has answered.
bool is_answered(int socket) {
  std::string line;
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &most_silence, sizeof most_silence);
  for (char byte = 0; line.size() < 32 && ::read(socket, &byte, 1) == 1; line += byte) {
    if (byte != '\n') continue;
    constexpr timeval for_ever{.tv_sec = 0, .tv_usec = 0};
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof for_ever);
    return line.starts_with("OK ");
  }
  return false;
}

/// False: standard output cannot be written.
bool relay(int socket) {
  Way in(STDIN_FILENO, socket), out(socket, STDOUT_FILENO);
  bool told = false;
  while (!out.ended()) {
    if (in.ended() && !told) {
      ::shutdown(socket, SHUT_WR);
      told = true;
    }
    std::array<pollfd, 2> all{in.to_poll(), out.to_poll()};
    if (::poll(all.data(), all.size(), -1) < 0 && errno != EINTR) return false;
    if (all[0].fd >= 0 && all[0].revents != 0) in.go_on();
    if (all[1].revents != 0) out.go_on();
  }
  return !out.failed();
}

/// A connection to whoever listens there.
tl::expected<Fd, std::string> call(const std::string& path, u32 port, const std::string& name) {
  Fd socket = connect_to(path, SOCK_STREAM);
  if (!socket) return tl::unexpected("cannot connect to '" + path + "': " + std::strerror(errno));
  const std::string words = "CONNECT " + std::to_string(port) + "\n";
  if (::send(socket.get(), words.data(), words.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(words.size()) ||
      !is_answered(socket.get()))
    return tl::unexpected("nobody in '" + name + "' listens at port " + std::to_string(port));
  return socket;
}

}  // namespace

bool listens(const std::string& path, u32 port) { return !path.empty() && call(path, port, ""); }

int vsock(const Common& common, const std::string& domain, u32 port) {
  const auto found = Api(common.run_folder).get(domain_path(domain));
  if (!found) {
    spdlog::error("{}", found.error().message);
    return found.error().exit_status;
  }
  const auto refuse = [&](const std::string& why) {
    spdlog::error("cloister: {}", why);
    return int{exit_status::failed};
  };
  const std::string name = found->value("name", domain), path = found->value("vsock", "");
  if (found->value("id", u64{0}) == 0) return refuse("'" + name + "' is shut off");
  if (const std::string state = found->value("state", ""); state == "paused" || state == "suspended")
    return refuse("'" + name + "' is " + state);
  if (path.empty()) return refuse("'" + name + "' has no vsock; its configuration says so by 'vsock'");
  const auto socket = call(path, port, name);
  if (!socket) return refuse(socket.error());
  ::signal(SIGPIPE, SIG_IGN);
  return relay(socket->get()) ? 0 : int{exit_status::failed};
}

}  // namespace cloister::toolstack::client
