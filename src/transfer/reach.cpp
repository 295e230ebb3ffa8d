// At a source: one order of the daemon's, one connection.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arch/try.hpp"
#include "host/memfd.hpp"
#include "host/packet.hpp"
#include "host/whole_file.hpp"
#include "text/json_fields.hpp"
#include "transfer/addresses.hpp"
#include "transfer/pinned_tls.hpp"
#include "transfer/rights.hpp"
#include "transfer/transfer.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::chrono::milliseconds to_connect{10'000}, to_shake_hands{10'000}, to_be_let_in{15'000}, to_speak{30'000};
constexpr std::size_t longest_order = 1 << 20;
constexpr int to_daemon = STDIN_FILENO;

struct Reached {
  PinnedTls tls;
  Fd plain;
  std::string peer;
};

tl::expected<Reached, std::string> reach() {
  auto request = receive_packet(to_daemon);
  if (!request) return tl::unexpected(std::string("no order came: ") + name_of(request.error()));
  if (request->descriptors.size() != 2 || !is_sealed_memfd(request->descriptors[1].get()))
    return tl::unexpected(std::string("expected a connection and an order"));
  std::string address;
  JsonFields fields(request->body);
  fields.text("to", address);
  if (!fields.ok()) return tl::unexpected(fields.error());
  TRY(become_nobody());
  const auto text = TRY(read_within(request->descriptors[1].get(), longest_order));
  const auto order = TRY(read_transfer_order({reinterpret_cast<const char*>(text.data()), text.size()}));
  const HostPort where = TRY(read_host_port(address));
  auto socket = TRY(reach_tcp(where, to_connect));
  auto tls = TRY(PinnedTls::create(order, TlsSide::source, std::move(socket)));
  const auto peer = tls.shake_hands(to_shake_hands);
  if (!peer) return tl::unexpected(address + ": " + peer.error());
  if (const auto word = tls.await_word(to_be_let_in); !word)
    return tl::unexpected(address + ": '" + peer->name +
                          "' does not let this machine in: does its machine.toml list "
                          "this one's key, with an 'owner'? (" +
                          word.error() + ")");
  return Reached{std::move(tls), std::move(request->descriptors[0]), peer->name};
}

}  // namespace

int run_transfer_reach(bool stays) {
  ::signal(SIGPIPE, SIG_IGN);
  const pid_t child = stays ? 0 : ::fork();
  if (child != 0) return child < 0 ? 1 : 0;
  auto reached = reach();
  if (!reached) {
    (void)send_packet(to_daemon, {{"error", reached.error()}});
    return 1;
  }
  const bool told = send_packet(to_daemon, {{"peer", reached->peer}}).has_value();
  ::close(to_daemon);
  if (!told) return 1;
  // It says something first, when it knows that it has been connected.
  pollfd wait{.fd = reached->plain.get(), .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, static_cast<int>(to_speak.count())) <= 0) return 1;
  reached->tls.relay(reached->plain.get());
  return 0;
}

}  // namespace cloister::toolstack
