// See patience.hpp.
#include "client/patience.hpp"

#include <spdlog/spdlog.h>

namespace cloister::toolstack::client {

namespace {

using std::chrono::milliseconds;

constexpr int unavailable = 503;  ///< it is ending
/// One that listens and says nothing is worth a word after so long. It may wait itself for a domain that does not
/// answer, and says so after 5 s (daemon/domains.hpp).
constexpr milliseconds longest_answer{8000}, least_answer{1000};

}  // namespace

bool Patience::is_silence(const Failure& failure) {
  return !failure.forbidden && (failure.http_status == 0 || failure.http_status == unavailable);
}

Patience::Clock::duration Patience::rest(Clock::time_point now) const {
  return since_ ? left_ - (now - *since_) : left_;
}

milliseconds Patience::for_an_answer() const {
  const MutexLock held(lock_);
  return std::clamp(std::chrono::ceil<milliseconds>(rest(Clock::now())), least_answer, longest_answer);
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
