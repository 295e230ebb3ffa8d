#include "vmx/time.hpp"

#include <chrono>

namespace cloister::vmx {

namespace {
u64 host_nanoseconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<u64>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}
}  // namespace

Time::Time() : start_(host_nanoseconds()) {}
u64 Time::elapsed() const { return host_nanoseconds() - start_; }  // tsc_hz is one per nanosecond

void Time::resume(u64 time) {
  start_ = host_nanoseconds() - time;
  counted_ = time;
}

}  // namespace cloister::vmx
