// The guest's date after it has stood still (saved, moved, or paused for long): its time stamp counter has stood, too,
// and Linux reads the clock chip at boot and when it wakes alone. So the agent that listens at the guest's port 123 is
// told the date, by the socket between guest and host: {"execute":"guest-set-time","arguments":{"time":NANOSECONDS}},
// which is QEMU's guest agent's command (qemu-ga(8)). Nobody has to listen there.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "host/mutex.hpp"
#include "platform/virtio/peers.hpp"

namespace cloister::hypervisor {

class DateCalls {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr u32 port = 123;
  /// Calls that nobody answers are made again so soon, and so often; one that was answered has as long for its reply.
  static constexpr std::chrono::milliseconds between{500}, patience{2000};
  static constexpr unsigned most = 40;

  /// ahead: of the host's date.
  explicit DateCalls(std::chrono::seconds ahead) : ahead_(ahead) {}

  /// The date is wrong. From any thread; whoever waits for the device is to be woken.
  void begin();
  /// The rest is for who has the device's turn. One that calls the guest now: it must go before this does.
  std::unique_ptr<platform::virtio::Peer> next();
  /// Until next() or one that calls has something to do, for poll(); -1: nothing.
  int wait_ms() const;

 private:
  class Call;
  mutable Mutex lock_;
  const std::chrono::seconds ahead_;
  unsigned left_ CLOISTER_GUARDED_BY(lock_) = 0;        ///< calls that may be made yet
  Clock::time_point due_ CLOISTER_GUARDED_BY(lock_){};  ///< of the next, or of the end of the one that is
  bool calls_ CLOISTER_GUARDED_BY(lock_) = false;
};

}  // namespace cloister::hypervisor
