#include "hypervisor/devices/frame_stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "hypervisor/devices/host_guard.hpp"

namespace cloister::hypervisor {

using platform::virtio::least_frame;
using platform::virtio::most_frame;

tl::expected<std::shared_ptr<FrameStream>, std::string> FrameStream::create(Fd socket, Host host) {
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!socket || !wake) return tl::unexpected(std::string(std::strerror(errno)));
  return std::make_shared<FrameStream>(std::move(socket), std::move(wake), host);
}

FrameStream::FrameStream(Fd socket, Fd wake, Host host)
    : socket_(std::move(socket)), waker_(std::move(wake)), host_(host), in_(in_bytes) {}

std::span<const std::byte> FrameStream::frame(unsigned) const {
  return std::span(in_).subspan(frame_ == 0 ? 0 : begin_ + length_bytes, frame_);
}

void FrameStream::pop(unsigned) {
  begin_ += length_bytes + frame_;
  look_for_frame();
}

/// Those that are too short are passed over: there is nothing in them.
void FrameStream::look_for_frame() {
  frame_ = 0;
  while (end_ - begin_ >= length_bytes) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < length_bytes; ++i) length = length << 8 | std::to_integer<std::size_t>(in_[begin_ + i]);
    if (length > most_frame) return end();
    if (end_ - begin_ < length_bytes + length) break;
    if (length >= least_frame) {
      frame_ = length;
      return;
    }
    begin_ += length_bytes + length;
  }
  std::memmove(in_.data(), in_.data() + begin_, end_ - begin_);
  end_ -= std::exchange(begin_, 0);
}

/// Only while there is no whole frame: so there is room for the rest of one.
void FrameStream::fill() {
  const ssize_t got = ::recv(socket_.get(), in_.data() + end_, in_.size() - end_, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return end();
  end_ += static_cast<std::size_t>(got);
  look_for_frame();
}

void FrameStream::end() {
  up_ = blocked_ = false;
  begin_ = end_ = frame_ = 0;
  out_.clear();
  begun_ = 0;
}

bool FrameStream::send(unsigned, const platform::virtio::FrameHeader&, std::span<const std::byte> frame) {
  if (!up_ || length_bytes + frame.size() > most_together ||
      (host_ == Host::out_of_reach && is_for_the_host_itself(frame)))
    return false;
  for (std::size_t i = length_bytes; i-- > 0;) out_.push_back(static_cast<std::byte>(frame.size() >> (8 * i)));
  out_.insert(out_.end(), frame.begin(), frame.end());
  return true;
}

std::size_t FrameStream::end_of_frames(std::size_t from) const {
  std::size_t end = from;
  while (end < out_.size()) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < length_bytes; ++i) length = length << 8 | std::to_integer<std::size_t>(out_[end + i]);
    if (end + length_bytes + length - from > most_together) break;
    end += length_bytes + length;
  }
  return end;
}

void FrameStream::flush() {
  std::size_t gone = 0;
  while (up_ && gone < out_.size()) {
    const std::size_t end_of_these = begun_ != 0 ? gone + begun_ : end_of_frames(gone);
    const ssize_t some = ::send(socket_.get(), out_.data() + gone, end_of_these - gone, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (some < 0 && errno == EINTR) continue;
    if (some < 0 && errno == EAGAIN) break;
    if (some < 0) return end();
    gone += static_cast<std::size_t>(some);
    begun_ = end_of_these - gone;
  }
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(gone));
  blocked_ = !out_.empty();
}

void FrameStream::wait(platform::virtio::Lanes for_frames) {
  const bool reads = for_frames != 0 && frame_ == 0;
  const int wanted = (reads ? POLLIN : 0) | (blocked_ ? POLLOUT : 0);
  pollfd all[] = {waker_.to_poll(),
                  {.fd = up_ ? socket_.get() : -1, .events = static_cast<short>(wanted), .revents = 0}};
  ::poll(all, 2, -1);
  waker_.polled(all[0].revents);
  const int happened = all[1].revents;
  if ((happened & POLLOUT) != 0) flush();
  if (reads && (happened & (POLLIN | POLLHUP)) != 0) return fill();
  if ((happened & (POLLHUP | POLLERR | POLLNVAL)) != 0) end();
}

void FrameStream::wake() { waker_.wake(); }

}  // namespace cloister::hypervisor
