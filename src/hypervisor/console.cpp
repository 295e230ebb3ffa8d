// Input is taken only when its taker has little left to give, so that what the guest does not read stays with whoever
// writes it, and no buffer here grows.
#include "hypervisor/console.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace cloister::hypervisor {
namespace {

constexpr std::size_t line_limit = 512;
constexpr std::size_t backlog_limit = 64;

}  // namespace

void Console::connect(Output out, int in) {
  out_ = std::move(out);
  in_ = in;
}

void Console::transmit(u8 byte) {
  line_.push_back(byte);
  if (byte == '\n' || line_.size() >= line_limit) flush();
}

void Console::flush() {
  if (!line_.empty() && out_) out_(line_);
  line_.clear();
}

int Console::wanted(std::size_t backlog) const { return in_ >= 0 && backlog < backlog_limit ? in_ : -1; }

bool Console::at_end() {
  int waiting = 0;
  if (::ioctl(in_, FIONREAD, &waiting) < 0 ? errno == ENOTTY : waiting > 0) return false;
  in_ = -1;
  return true;
}

void Console::receive(const Output& to) {
  std::array<u8, 64> bytes;
  const ssize_t n = ::read(in_, bytes.data(), bytes.size());
  if (n > 0) {
    to(std::span(bytes).first(static_cast<std::size_t>(n)));
  } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
    in_ = -1;
  }
}

}  // namespace cloister::hypervisor
