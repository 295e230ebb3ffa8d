// All sockets are used without waiting; the service's poll() waits for all of them. Keys are read only while the pipe
// to the guest has room, so what it does not take stays with whoever typed it.
#include "vmm/console_hub.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <string_view>

namespace cloister::toolstack {

namespace {

/// A write of at most PIPE_BUF bytes to a pipe that polls writable is whole and does not wait (pipe(7)).
constexpr std::size_t keys_at_once = 512;

constexpr std::string_view too_many_viewers = "cloister: this console has 16 viewers already, and takes no more\r\n";
static_assert(ConsoleHub::most_viewers == 16);

}  // namespace

ConsoleHub::ConsoleHub(DomainPage& page, Fd listening)
    : page_(page), listening_(std::move(listening)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  ::fcntl(listening_.get(), F_SETFL, O_NONBLOCK);
  int ends[2] = {-1, -1};
  [[maybe_unused]] const int made = ::pipe2(ends, O_CLOEXEC | O_NONBLOCK);
  assert(made == 0 && wake_);
  typed_out_ = Fd(ends[0]);
  typed_in_ = Fd(ends[1]);
}

void ConsoleHub::output(std::span<const u8> bytes) {
  const MutexLock guard(lock_);
  page_.append_console(bytes);
  for (Viewer& viewer : viewers_) {
    if (viewer.pending.size() + bytes.size() > longest_backlog) viewer.dropped = true;
    if (!viewer.dropped) viewer.pending.append(bytes.begin(), bytes.end());
  }
  if (!viewers_.empty()) ::eventfd_write(wake_.get(), 1);
}

std::vector<pollfd> ConsoleHub::poll_set() {
  pollfd room{.fd = typed_in_.get(), .events = POLLOUT, .revents = 0};
  const bool takes_keys = ::poll(&room, 1, 0) == 1;
  const MutexLock guard(lock_);
  std::erase_if(viewers_, [](const Viewer& viewer) { return viewer.dropped; });
  std::vector<pollfd> set{
      {.fd = wake_.get(), .events = POLLIN, .revents = 0},
      {.fd = listening_.get(), .events = POLLIN, .revents = 0},
      {.fd = takes_keys || viewers_.empty() ? -1 : typed_in_.get(), .events = POLLOUT, .revents = 0}};
  for (const Viewer& viewer : viewers_) {
    const int events = (takes_keys && viewer.types ? POLLIN : 0) | (viewer.pending.empty() ? 0 : POLLOUT);
    // Without events poll() would still report that a viewer has hung up, whose keys wait.
    const bool waits = events == 0 && viewer.types;
    set.push_back({.fd = waits ? -1 : viewer.socket.get(), .events = static_cast<short>(events), .revents = 0});
  }
  return set;
}

void ConsoleHub::serve(std::span<const pollfd> ready) {
  eventfd_t count = 0;
  if (ready[0].revents != 0) ::eventfd_read(wake_.get(), &count);
  auto next = ready.begin() + 3;
  for (Viewer& viewer : own_viewers()) {
    if (next == ready.end()) break;
    if (viewer.types) {
      if ((next->revents & (POLLIN | POLLHUP | POLLERR)) != 0) read_keys(viewer);
    } else if ((next->revents & (POLLHUP | POLLERR)) != 0) {
      const MutexLock guard(lock_);
      viewer.dropped = true;
    }
    if (next->revents != 0) send(viewer);
    ++next;
  }
  if (ready[1].revents != 0) attach();
}

void ConsoleHub::attach() {
  Viewer viewer{.socket = Fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)),
                .pending = {},
                .dropped = false,
                .types = true};
  if (!viewer.socket) return;
  const MutexLock guard(lock_);
  if (viewers_.size() >= most_viewers) {
    // A new socket has room for it.
    (void)::send(viewer.socket.get(), too_many_viewers.data(), too_many_viewers.size(), MSG_NOSIGNAL);
    return;
  }
  viewer.pending = page_.console();  // under the lock: nothing is lost or seen twice between history and stream
  viewers_.push_back(std::move(viewer));
}

void ConsoleHub::read_keys(Viewer& viewer) {
  pollfd room{.fd = typed_in_.get(), .events = POLLOUT, .revents = 0};
  if (::poll(&room, 1, 0) != 1) return;
  std::array<u8, keys_at_once> keys;
  const ssize_t got = ::recv(viewer.socket.get(), keys.data(), keys.size(), 0);
  if (got > 0) {
    write_all(typed_in_.get(), std::span(keys).first(static_cast<std::size_t>(got)));
  } else if (got == 0) {
    viewer.types = false;
  } else if (errno != EAGAIN && errno != EINTR) {
    const MutexLock guard(lock_);
    viewer.dropped = true;
  }
}

void ConsoleHub::send(Viewer& viewer) {
  const MutexLock guard(lock_);
  if (viewer.pending.empty() || viewer.dropped) return;
  const ssize_t sent = ::send(viewer.socket.get(), viewer.pending.data(), viewer.pending.size(), MSG_NOSIGNAL);
  if (sent > 0) {
    viewer.pending.erase(0, static_cast<std::size_t>(sent));
  } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
    viewer.dropped = true;
  }
}

void ConsoleHub::keep(const std::function<bool(const Peer&)>& may_stay) {
  const MutexLock guard(lock_);
  for (Viewer& viewer : viewers_) {
    const Peer peer = peer_of(viewer.socket.get());
    if (peer.uid == 0 || may_stay(peer)) continue;
    viewer.dropped = true;
    viewer.types = false;
  }
  if (!viewers_.empty()) ::eventfd_write(wake_.get(), 1);
}

bool ConsoleHub::flushed() {
  const MutexLock guard(lock_);
  for (const Viewer& viewer : viewers_) {
    if (!viewer.dropped && !viewer.pending.empty()) return false;
  }
  return true;
}

}  // namespace cloister::toolstack
