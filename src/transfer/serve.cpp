// At a target: two processes for a source. One has TLS, no rights, and a key of an hour; the other one, which reads
// nothing that comes from the network but which machine it is, starts `cloister receive` as whoever owns what comes
// from there. So a domain is created as that user would create it, and by no other way.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "arch/try.hpp"
#include "client/api.hpp"
#include "client/move_wire.hpp"
#include "host/log.hpp"
#include "host/packet.hpp"
#include "host/process.hpp"
#include "text/json_fields.hpp"
#include "transfer/addresses.hpp"
#include "transfer/pinned_tls.hpp"
#include "transfer/rights.hpp"
#include "transfer/transfer.hpp"

namespace cloister::toolstack {

namespace {

/// From the connection on: until then it costs a process.
constexpr std::chrono::milliseconds to_be_known{10'000};
constexpr std::size_t most_sources = 64;

struct SocketPair {
  Fd one, other;
};
tl::expected<SocketPair, std::string> socket_pair(int type) {
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
    return tl::unexpected(std::string("no socket: ") + std::strerror(errno));
  return SocketPair{Fd(ends[0]), Fd(ends[1])};
}

/// The half that has TLS. `monitor`: is told which machine it is.
int carry_source(const TransferOrder& order, Fd source, const Fd& monitor, const Fd& plain) {
  if (const auto became = become_nobody(); !became) {
    (void)send_packet(monitor.get(), {{"error", became.error()}});
    return 1;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // after the user: another one forgets it
  ::fcntl(source.get(), F_SETFL, O_NONBLOCK);
  prepare_tcp(source.get());
  auto tls = PinnedTls::create(order, TlsSide::target, std::move(source));
  const auto peer = tls ? tls->shake_hands(to_be_known) : tl::unexpected(tls.error());
  if (!peer) {
    (void)send_packet(monitor.get(), {{"error", peer.error()}});
    return 1;
  }
  if (!send_packet(monitor.get(), {{"peer", peer->name}})) return 1;
  tls->relay(plain.get());
  return 0;
}

/// To a machine that is listed: why nothing comes of it.
void tell_source(Fd plain, const std::string& why) {
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  ::setsockopt(plain.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  Fd again(::fcntl(plain.get(), F_DUPFD_CLOEXEC, 0));
  if (!again) return;
  client::Wire wire(std::move(plain), std::move(again));
  if (!wire.greet()) return;
  (void)wire.send(client::WireKind::failed, json_text(nlohmann::json{{"error", why}}));
  // It is still sending what it would have gone on with: what that is is of no interest, but that it has heard.
  constexpr int of_an_offer = 2;
  for (int i = 0; i < of_an_offer && wire.receive(); ++i) {
  }
}

/// Does not return, but in the child that it makes if that cannot be what it is to be.
[[noreturn]] void become_receiver(const std::string& owner, const std::string& run, int plain) {
  const auto ends = [](const std::string& why) {
    std::fprintf(stderr, "cloister-transfer: %s\n", why.c_str());
    std::_Exit(1);
  };
  if (const auto became = become_user(owner); !became) ends(became.error());
  std::error_code error;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "cloister";
  if (::dup2(plain, STDIN_FILENO) < 0 || ::dup2(plain, STDOUT_FILENO) < 0) ends("no descriptors");
  if (::chdir("/") != 0) ends("no folder");
  ::closefrom(STDERR_FILENO + 1);
  const char* const arguments[] = {"cloister", "--run", run.c_str(), "receive", "--stdio", nullptr};
  const char* const environment[] = {nullptr};
  ::execve(program.c_str(), const_cast<char* const*>(arguments), const_cast<char* const*>(environment));
  ends("cannot start " + program);
  std::_Exit(1);
}

tl::expected<TransferPeer, std::string> wait_for_peer(const TransferOrder& order, int carrier) {
  pollfd wait{.fd = carrier, .events = POLLIN, .revents = 0};
  // Longer than the carrier itself waits, which knows better why.
  if (::poll(&wait, 1, static_cast<int>(2 * to_be_known.count())) <= 0)
    return tl::unexpected(std::string("no handshake in time"));
  const auto said = receive_packet(carrier);
  if (!said) return tl::unexpected(std::string("what speaks TLS has ended"));
  std::string name, error;
  JsonFields fields(said->body);
  if (fields.has("error")) fields.text("error", error);
  if (error.empty()) fields.text("peer", name);
  if (!error.empty() || !fields.ok()) return tl::unexpected(error.empty() ? fields.error() : error);
  const auto found = std::ranges::find(order.peers, name, &TransferPeer::name);
  if (found == order.peers.end()) return tl::unexpected("no such machine: '" + name + "'");
  return *found;
}

tl::expected<void, std::string> serve(const std::string& run, Fd source) {
  const client::Api api(run);
  const auto answer = api.post("/v1/transfers");
  if (!answer) return tl::unexpected(answer.error().message);
  const TransferOrder order = TRY(read_transfer_order(json_text(*answer)));
  auto plain = TRY(socket_pair(SOCK_STREAM));
  auto control = TRY(socket_pair(SOCK_SEQPACKET));
  const pid_t carrier = ::fork();
  if (carrier < 0) return tl::unexpected(std::string("no process: ") + std::strerror(errno));
  if (carrier == 0) {
    control.one = Fd();
    plain.one = Fd();
    ::close(STDIN_FILENO);
    std::_Exit(carry_source(order, std::move(source), control.other, plain.other));
  }
  source = Fd();
  control.other = Fd();
  plain.other = Fd();
  const auto peer = wait_for_peer(order, control.one.get());
  if (!peer) {
    ::kill(carrier, SIGKILL);
    ::waitpid(carrier, nullptr, 0);
    return tl::unexpected(peer.error());
  }
  log(LogLevel::info, "source-known", {{"peer", peer->name}, {"owner", peer->owner}});
  pid_t receiver = 0;
  if (peer->owner.empty()) {
    tell_source(std::move(plain.one), "'owner' is missing for '" + peer->name +
                                          "' in [migration] of the target's "
                                          "machine.toml: nobody there would own the domain");
  } else {
    receiver = ::fork();
    if (receiver == 0) become_receiver(peer->owner, run, plain.one.get());
    plain.one = Fd();
  }
  if (receiver > 0) ::waitpid(receiver, nullptr, 0);
  ::waitpid(carrier, nullptr, 0);
  return {};
}

}  // namespace

int run_transfer_serve(const std::string& run) {
  ::signal(SIGPIPE, SIG_IGN);
  Fd source(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  if (const auto served = serve(run, std::move(source)); !served) {
    log(LogLevel::warning, "source-refused", {{"error", served.error()}});
    return 1;
  }
  return 0;
}

int run_transfer_listen(const std::string& run, const std::string& address) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  const auto tell = [](const nlohmann::json& what) { (void)send_packet(STDIN_FILENO, what); };
  const auto where = read_host_port(address);
  auto listening = where ? listen_tcp(*where) : tl::unexpected(where.error());
  if (!listening) {
    tell({{"error", listening.error()}});
    return 1;
  }
  tell({{"ok", true}});
  std::vector<pollfd> waits;
  for (const Fd& one : *listening) waits.push_back({.fd = one.get(), .events = POLLIN, .revents = 0});
  std::vector<Process> sources;
  while (true) {
    std::erase_if(sources, [](const Process& one) {
      if (!wait_for_end(one.pidfd.get(), 0)) return false;
      reap(one.pidfd.get());
      return true;
    });
    constexpr int look_again_ms = 1'000;
    if (::poll(waits.data(), waits.size(), sources.empty() ? -1 : look_again_ms) <= 0) continue;
    if (sources.size() >= most_sources) {
      (void)::poll(nullptr, 0, look_again_ms / 10);
      continue;
    }
    for (const pollfd& one : waits) {
      if (one.revents == 0) continue;
      const Fd source(::accept4(one.fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (!source) continue;
      const int descriptors[] = {source.get(), STDERR_FILENO, STDERR_FILENO};
      auto process = spawn("/proc/self/exe", {"cloister-transfer", "--run", run, "serve"}, descriptors);
      if (process) {
        sources.push_back(std::move(*process));
      } else {
        log(LogLevel::warning, "source-refused", {{"error", process.error()}});
      }
    }
  }
}

}  // namespace cloister::toolstack
