// See patience.hpp.
#include "client/patience.hpp"

#include <spdlog/spdlog.h>

namespace cloister::toolstack::client {

namespace {

constexpr int unavailable = 503;  ///< it is ending

}  // namespace

bool Patience::is_silence(const Failure& failure) {
  return !failure.forbidden && (failure.http_status == 0 || failure.http_status == unavailable);
}

Patience::Clock::duration Patience::rest(Clock::time_point now) const {
  return since_ ? left_ - (now - *since_) : left_;
}

bool Patience::given_up() const {
  const MutexLock held(lock_);
  return since_ && rest(Clock::now()) <= Clock::duration::zero();
}

void Patience::answered() {
  const MutexLock held(lock_);
  last_answer_ = Clock::now();
  left_ = std::max(rest(last_answer_), Clock::duration::zero());
  since_.reset();
}

bool Patience::goes_on(Clock::time_point asked) {
  const MutexLock held(lock_);
  if (!since_) {
    since_ = std::max(asked, last_answer_);
    if (left_ > Clock::duration::zero())
      spdlog::info("cloister: cloisterd does not answer, and is waited for, {} s at most",
                   std::chrono::ceil<std::chrono::seconds>(left_).count());
  }
  return rest(Clock::now()) > Clock::duration::zero();
}

}  // namespace cloister::toolstack::client
