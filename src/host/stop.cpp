// A handler can reach nothing but globals: lock-free atomics.
#include "host/stop.hpp"

#include <thread>

namespace cloister::toolstack {

namespace {

std::atomic<bool> stop_flag{false}, shutdown_flag{false};
std::atomic<int> stop_signal{0};
std::atomic<unsigned> stop_requests{0};
static_assert(std::atomic<unsigned>::is_always_lock_free);
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void on_signal(int number) {
  stop_signal = number;
  ++stop_requests;
  const bool asks = number == SIGTERM && !shutdown_flag.exchange(true);
  if (!asks) stop_flag = true;
}

}  // namespace

StopSource::StopSource() {
  stop_flag = shutdown_flag = false;
  stop_signal = 0;
  for (std::size_t i = 0; i < handled_.size(); ++i) {
    struct sigaction action {};
    // Without SA_RESTART: a system call that waits returns and sees the flag.
    action.sa_handler = handled_[i] == SIGPIPE || handled_[i] == SIGXFSZ ? SIG_IGN : on_signal;
    sigemptyset(&action.sa_mask);
    ::sigaction(handled_[i], &action, &before_[i]);
  }
}

StopSource::~StopSource() {
  for (std::size_t i = 0; i < handled_.size(); ++i) ::sigaction(handled_[i], &before_[i], nullptr);
}

const std::atomic<bool>& StopSource::flag() const { return stop_flag; }
const std::atomic<bool>& StopSource::shutdown() const { return shutdown_flag; }
void StopSource::request() {
  ++stop_requests;
  stop_flag = true;
}
unsigned StopSource::requests() const { return stop_requests; }

bool StopSource::sleep_until(std::chrono::steady_clock::time_point end) const {
  constexpr auto tick = std::chrono::milliseconds(50);
  while (!flag() && !shutdown() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(tick);
  return !flag() && !shutdown();
}

int StopSource::signal() const { return stop_signal; }

}  // namespace cloister::toolstack
