// One poll() for everything. A daemon that does not read its replies loses its connection.
#include "vmm/service.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "host/log.hpp"
#include "host/threads.hpp"
#include "host/unix_socket.hpp"

namespace cloister::toolstack {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto farewell = std::chrono::seconds(1);
constexpr auto look_period = std::chrono::milliseconds(250);

/// For poll(): milliseconds until then, rounded up; 0: it is past.
int until(Clock::time_point then) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(then - Clock::now()).count();
  return static_cast<int>(std::max<std::int64_t>(left, 0));
}

constexpr const char* too_many_connections = "its process has 16 control connections already, and takes no more";
static_assert(Service::most_connections == 16);

/// Whoever asked does not wait for the answer any more, and has told somebody that there was none. (Of one that has
/// only ended what it sends, POLLHUP says nothing: unix(7), poll(2).)
bool has_hung_up(int connection) {
  pollfd look{.fd = connection, .events = 0, .revents = 0};
  return ::poll(&look, 1, 0) > 0 && (look.revents & POLLHUP) != 0;
}

}  // namespace

Service::Service(VerbContext context, ConsoleHub& hub, Fd listening, unsigned owner)
    : context_(std::move(context)),
      hub_(hub),
      listening_(std::move(listening)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      owner_(owner) {
  ::fcntl(listening_.get(), F_SETFL, O_NONBLOCK);
  thread_ = start_thread([this] { serve(); });
}

Service::~Service() {
  ending_ = true;
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void Service::serve() {
  std::optional<Clock::time_point> end;
  Clock::time_point next_look = Clock::now() + look_period;
  while (true) {
    if (ending_ && !end) end = Clock::now() + farewell;
    if (end && (hub_.flushed() || Clock::now() >= *end)) return;

    std::vector<pollfd> set{{.fd = end ? -1 : wake_.get(), .events = POLLIN, .revents = 0},
                            {.fd = listening_.get(), .events = POLLIN, .revents = 0},
                            {.fd = termination_.descriptor(), .events = POLLIN, .revents = 0}};
    for (const Fd& connection : connections_) set.push_back({.fd = connection.get(), .events = POLLIN, .revents = 0});
    const std::size_t console_at = set.size();
    const auto console = hub_.poll_set();
    set.insert(set.end(), console.begin(), console.end());

    const int wait = end ? 10 : context_.paged ? until(next_look) : -1;
    if (::poll(set.data(), set.size(), wait) < 0) continue;
    if (context_.paged && Clock::now() >= next_look) {
      context_.lifecycle.look_at_epc();
      next_look = Clock::now() + look_period;
    }
    const std::span<const pollfd> ready(set);
    for (unsigned left = ready[2].revents != 0 ? termination_.take() : 0; left != 0; --left)
      context_.lifecycle.terminate();
    auto state = ready.begin() + 3;
    std::erase_if(connections_,
                  [&](const Fd& connection) { return (state++)->revents != 0 && !handle(connection.get()); });
    if (ready[1].revents != 0) accept();
    hub_.serve(ready.subspan(console_at));
  }
}

bool Service::may_control(int connection) const {
  const Peer peer = peer_of(connection);
  return peer.uid == 0 || peer.uid == owner_;
}

void Service::accept() {
  Fd connection(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection || !may_control(connection.get())) return;
  if (connections_.size() >= most_connections) return turn_away(connection.get());
  if (!std::exchange(launch_seen_, true)) launching_ = connection.get();
  connections_.push_back(std::move(connection));
}

void Service::turn_away(int connection) {
  // A new socket has room for it.
  (void)send_packet(connection, nlohmann::json{{"error", too_many_connections}});
  // What is unread when a socket is closed takes away what the other end has not read yet.
  ::shutdown(connection, SHUT_RD);
  std::array<u8, 1> rest;
  while (::recv(connection, rest.data(), rest.size(), 0) > 0) {
  }
}

bool Service::handle(int connection) {
  const auto request = receive_packet(connection);
  if (request && !has_hung_up(connection)) {
    const Reply reply = answer(context_, *request);
    if (send_packet(connection, reply.body, reply.descriptors)) return true;
  } else if (!request && request.error() == PacketError::waits) {
    return true;
  }
  if (connection != launching_) return false;
  if (!context_.lifecycle.launched() && !context_.lifecycle.arriving()) {
    log(LogLevel::warning, "launch-abandoned", {{"domain", context_.lifecycle.name()}});
    ::_exit(1);
  }
  launching_ = -1;
  return false;
}

}  // namespace cloister::toolstack
