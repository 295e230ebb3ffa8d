#include "hypervisor/devices/date_calls.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace cloister::hypervisor {

using std::chrono::milliseconds;

class DateCalls::Call final : public platform::virtio::Peer {
 public:
  Call(DateCalls& owner, Clock::time_point end) : owner_(owner), end_(end) {}
  ~Call() override {
    const MutexLock held(owner_.lock_);
    owner_.calls_ = false;
    if (replied_) owner_.left_ = 0;
    owner_.due_ = Clock::now() + between;
  }

  bool ready() const override { return at_ < text_.size() || gone(); }
  std::optional<std::size_t> receive(std::span<std::byte> to) override {
    const std::size_t some = std::min(to.size(), text_.size() - at_);
    if (some == 0 && gone()) return std::nullopt;
    std::memcpy(to.data(), text_.data() + at_, some);
    at_ += some;
    return some;
  }
  /// Whatever it replies: the date is set before it fails to tell the clock chip, too.
  std::optional<std::size_t> send(std::span<const std::byte> from) override {
    if (std::ranges::find(from, std::byte{'\n'}) != from.end()) replied_ = true;
    return from.size();
  }
  void end_sending() override {}
  bool gone() const override { return replied_ || Clock::now() >= end_; }
  bool answered(u32 /*host_port*/) override {
    const auto date = std::chrono::system_clock::now().time_since_epoch() + owner_.ahead_;
    text_ = fmt::format("{{\"execute\":\"guest-set-time\",\"arguments\":{{\"time\":{}}}}}\n",
                        std::chrono::duration_cast<std::chrono::nanoseconds>(date).count());
    return true;
  }
  void want(const Wants& /*what*/) override {}

 private:
  DateCalls& owner_;
  const Clock::time_point end_;
  std::string text_;
  std::size_t at_ = 0;
  bool replied_ = false;
};

void DateCalls::begin() {
  const MutexLock held(lock_);
  left_ = most;
  if (!calls_) due_ = Clock::now();
}

std::unique_ptr<platform::virtio::Peer> DateCalls::next() {
  const MutexLock held(lock_);
  const auto now = Clock::now();
  if (left_ == 0 || calls_ || now < due_) return nullptr;
  --left_;
  calls_ = true;
  due_ = now + patience;
  return std::make_unique<Call>(*this, due_);
}

int DateCalls::wait_ms() const {
  const MutexLock held(lock_);
  if (left_ == 0 && !calls_) return -1;
  const auto left = std::chrono::ceil<milliseconds>(due_ - Clock::now());
  return static_cast<int>(std::max(left, milliseconds{0}).count());
}

}  // namespace cloister::hypervisor
