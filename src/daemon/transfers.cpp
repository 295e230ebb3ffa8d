#include "daemon/transfers.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "arch/try.hpp"
#include "daemon/transfer_credentials.hpp"
#include "host/memfd.hpp"
#include "host/packet.hpp"
#include "host/unix_socket.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

using Refused = tl::unexpected<std::string>;

/// Of what it does itself each step has its time (transfer/reach.cpp); this is more.
constexpr int to_reach_ms = 60'000, to_listen_ms = 10'000, to_go_ms = 2'000;

/// For tests the environment says another one.
std::string transfer_service() {
  const char* const told = ::secure_getenv("CLOISTER_TEST_TRANSFER_SERVICE");
  return told == nullptr ? "/run/cloister-transfer.sock" : told;
}

struct Ends {
  Fd ours, theirs;
};
tl::expected<Ends, std::string> two_ends() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return Refused(std::string("no socket: ") + std::strerror(errno));
  return Ends{Fd(ends[0]), Fd(ends[1])};
}

tl::expected<Process, std::string> start_transfer(const std::string& program, std::vector<std::string> arguments,
                                                  int connection) {
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) return Refused(std::string("cannot open /dev/null: ") + std::strerror(errno));
  const int descriptors[] = {connection, nothing.get(), STDERR_FILENO};
  arguments.insert(arguments.begin(), "cloister-transfer");
  return spawn(program, arguments, descriptors);
}

/// What it says first.
tl::expected<Packet, std::string> first_word(int connection, int patience_ms) {
  pollfd wait{.fd = connection, .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, patience_ms) <= 0) return Refused("what carries domains over TLS does not answer");
  auto answer = receive_packet(connection);
  if (!answer) return Refused("what carries domains over TLS has ended before it answered");
  std::string error;
  JsonFields fields(answer->body);
  if (fields.has("error")) fields.text("error", error);
  if (!error.empty()) return Refused(error);
  return std::move(*answer);
}

}  // namespace

nlohmann::json transfer_order(const MachineKey& key, const std::vector<MovePeer>& peers) {
  TransferCredentials credentials = make_transfer_credentials(key);
  nlohmann::json list = nlohmann::json::array();
  for (const MovePeer& peer : peers)
    list.push_back({{"name", peer.name}, {"key", to_text(peer.key)}, {"owner", peer.owner}});
  return {{"certificates", std::move(credentials.certificates)},
          {"key", std::move(credentials.key)},
          {"peers", std::move(list)}};
}

tl::expected<std::string, std::string> reach_machine(const std::string& program, const nlohmann::json& order,
                                                     const std::string& to, int connection) {
  const std::string text = json_text(order);
  const Fd secret = sealed_memfd("cloister-transfer", {reinterpret_cast<const u8*>(text.data()), text.size()});
  if (!secret) return Refused("no memory for the order");
  Fd carrier = ::geteuid() == 0 ? connect_to(transfer_service(), SOCK_SEQPACKET) : Fd();
  const int descriptors[] = {connection, secret.get()};
  const nlohmann::json request{{"to", to}};
  if (!carrier) {
    auto ends = TRY(two_ends());
    const Process process = TRY(start_transfer(program, {"reach"}, ends.theirs.get()));
    // It goes on in a child of its own, of which this process need not know.
    wait_for_end(process.pidfd.get(), to_go_ms);
    reap(process.pidfd.get());
    carrier = std::move(ends.ours);
  }
  if (!send_packet(carrier.get(), request, descriptors))
    return Refused("what carries domains over TLS does not listen");
  const auto answer = TRY(first_word(carrier.get(), to_reach_ms));
  std::string peer;
  JsonFields fields(answer.body);
  fields.text("peer", peer);
  if (!fields.ok()) return Refused(fields.error());
  return peer;
}

tl::expected<Process, std::string> listen_for_machines(const std::string& program, const std::string& run,
                                                       const std::string& at) {
  auto ends = TRY(two_ends());
  auto process = TRY(start_transfer(program, {"--run", run, "listen", at}, ends.theirs.get()));
  ends.theirs = Fd();
  TRY(first_word(ends.ours.get(), to_listen_ms));
  return process;
}

}  // namespace cloister::toolstack
