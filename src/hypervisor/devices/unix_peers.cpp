#include "hypervisor/devices/unix_peers.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

#include "host/vsock_connector.hpp"

namespace cloister::hypervisor {
namespace {

constexpr std::string_view call_word = "CONNECT ";
constexpr std::size_t longest_call = 32;
constexpr int no_signal = MSG_DONTWAIT | MSG_NOSIGNAL;

bool would_wait(ssize_t result) { return result < 0 && (errno == EAGAIN || errno == EINTR); }

/// "CONNECT 1234".
std::optional<u32> port_of(std::string_view line) {
  if (!line.starts_with(call_word)) return std::nullopt;
  line.remove_prefix(call_word.size());
  u32 port = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), port);
  return error == std::errc() && end == line.data() + line.size() ? std::optional(port) : std::nullopt;
}

}  // namespace

class UnixPeers::Stream final : public platform::virtio::Peer {
 public:
  Stream(std::vector<Stream*>& all, Fd socket) : all_(all), socket_(std::move(socket)) { all_.push_back(this); }
  ~Stream() override { std::erase(all_, this); }

  bool ready() const override { return ready_; }
  std::optional<std::size_t> receive(std::span<std::byte> to) override {
    const ssize_t got = ::recv(socket_.get(), to.data(), to.size(), MSG_DONTWAIT);
    if (got > 0) return static_cast<std::size_t>(got);
    if (!would_wait(got)) return std::nullopt;
    ready_ = false;
    return 0;
  }
  std::optional<std::size_t> send(std::span<const std::byte> from) override {
    const ssize_t some = ::send(socket_.get(), from.data(), from.size(), no_signal);
    if (some >= 0) return static_cast<std::size_t>(some);
    return would_wait(some) ? std::optional<std::size_t>(0) : std::nullopt;
  }
  void end_sending() override { ::shutdown(socket_.get(), SHUT_WR); }
  bool gone() const override {
    pollfd look{.fd = socket_.get(), .events = 0, .revents = 0};
    return ::poll(&look, 1, 0) > 0;
  }
  bool answered(u32 host_port) override {
    const std::string line = fmt::format("OK {}\n", host_port);
    return send(std::as_bytes(std::span(line))) == line.size();
  }
  void want(const Wants& what) override { wants_ = what; }

  pollfd to_poll() const {
    const int events = (wants_.bytes ? POLLIN : 0) | (wants_.room ? POLLOUT : 0);
    const bool wanted = events != 0 || wants_.end;
    return {.fd = wanted ? socket_.get() : -1, .events = static_cast<short>(events), .revents = 0};
  }
  void polled(int happened) {
    if (wants_.bytes && happened != 0) ready_ = true;
  }

 private:
  std::vector<Stream*>& all_;
  const Fd socket_;
  Wants wants_;
  bool ready_ = false;
};

tl::expected<std::shared_ptr<UnixPeers>, std::string> UnixPeers::create(Fd listening, Fd connector,
                                                                        std::chrono::seconds ahead) {
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!listening || !wake) return tl::unexpected(std::string(std::strerror(errno)));
  ::fcntl(listening.get(), F_SETFL, O_NONBLOCK);
  return std::make_shared<UnixPeers>(std::move(listening), std::move(connector), std::move(wake), ahead);
}

UnixPeers::UnixPeers(Fd listening, Fd connector, Fd wake, std::chrono::seconds ahead)
    : listening_(std::move(listening)), waker_(std::move(wake)), connector_(std::move(connector)), date_calls_(ahead) {}

std::optional<platform::virtio::Peers::Call> UnixPeers::next_call() {
  if (auto call = date_calls_.next()) return Call{.from = std::move(call), .port = DateCalls::port};
  if (calls_.empty()) return std::nullopt;
  Call call = std::move(calls_.front());
  calls_.pop_front();
  return call;
}

std::optional<platform::virtio::Peers::Answer> UnixPeers::next_answer() {
  if (answers_.empty()) return std::nullopt;
  Answer answer = std::move(answers_.front());
  answers_.pop_front();
  return answer;
}

std::optional<u32> UnixPeers::ask(u32 port) {
  // Those that the guest has given up meanwhile have an answer to come, too, and a descriptor with it.
  if (asked_.size() + answers_.size() >= platform::virtio::Vsock::most_connections) return std::nullopt;
  const ConnectorMessage message{.number = ++last_number_, .port = port};
  if (!connector_ || ::send(connector_.get(), &message, sizeof message, no_signal) != sizeof message)
    return std::nullopt;
  asked_.insert(message.number);
  return message.number;
}

void UnixPeers::wait(Wait how) {
  std::vector<pollfd> all{waker_.to_poll()};
  const bool looks = how != Wait::for_nothing;
  if (looks) {
    all.push_back({.fd = calls_.size() < most_callers ? listening_.get() : -1, .events = POLLIN, .revents = 0});
    all.push_back({.fd = connector_ ? connector_.get() : -1, .events = POLLIN, .revents = 0});
    for (const Caller& caller : callers_) all.push_back({.fd = caller.socket.get(), .events = POLLIN, .revents = 0});
    for (const Stream* stream : streams_) all.push_back(stream->to_poll());
  }
  if (::poll(all.data(), all.size(), wait_ms(how)) < 0) return;
  waker_.polled(all[0].revents);
  if (!looks) return;
  auto state = all.begin() + 3 + static_cast<std::ptrdiff_t>(callers_.size());
  for (Stream* stream : streams_) stream->polled((state++)->revents);
  // Now some come, and others go.
  state = all.begin() + 3;
  std::erase_if(callers_, [&](Caller& caller) { return (state++)->revents != 0 && !listen_to(caller); });
  if (all[2].revents != 0) take_answers();
  if (all[1].revents != 0) accept();
}

int UnixPeers::wait_ms(Wait how) const {
  switch (how) {
    case Wait::for_all: return date_calls_.wait_ms();
    case Wait::for_a_look: return 0;
    case Wait::for_nothing: break;
  }
  return -1;
}

void UnixPeers::stood_still() {
  date_calls_.begin();
  wake();
}

void UnixPeers::wake() { waker_.wake(); }

/// Where there are too many, the one that has been silent the longest is none any more.
void UnixPeers::accept() {
  Fd socket(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  if (callers_.size() == most_callers) callers_.erase(callers_.begin());
  callers_.push_back({.socket = std::move(socket), .said = {}});
}

/// Byte by byte: what is behind the line is the guest's.
bool UnixPeers::listen_to(Caller& caller) {
  for (;;) {
    char byte = 0;
    const ssize_t got = ::recv(caller.socket.get(), &byte, 1, MSG_DONTWAIT);
    if (would_wait(got)) return true;
    if (got <= 0) return false;
    if (byte == '\n') break;
    caller.said += byte;
    if (caller.said.size() > longest_call) return false;
  }
  if (const auto port = port_of(caller.said); port && calls_.size() < most_callers)
    calls_.push_back({.from = std::make_unique<Stream>(streams_, std::move(caller.socket)), .port = *port});
  return false;
}

void UnixPeers::lose_connector() {
  connector_ = Fd();
  for (const u32 number : asked_) answers_.push_back({.number = number, .peer = nullptr});
  asked_.clear();
}

void UnixPeers::take_answers() {
  for (;;) {
    ConnectorMessage message;
    Fd socket;
    const auto got = receive_from_connector(connector_.get(), message, socket);
    if (!got) return;
    if (!*got) return lose_connector();
    if (asked_.erase(message.number) == 0) continue;
    answers_.push_back(
        {.number = message.number, .peer = socket ? std::make_unique<Stream>(streams_, std::move(socket)) : nullptr});
  }
}

}  // namespace cloister::hypervisor
