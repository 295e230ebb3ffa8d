// A cloisterd that does not answer, since it is about to start again, or never will: how long it is waited for, all
// requests and all times that it was silent together. Whoever looks on is told.
//
// Threads: any.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "client/api.hpp"
#include "host/mutex.hpp"

namespace cloister::toolstack::client {

class Patience {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Patience(std::chrono::seconds in_all) : left_(in_all) {}

  /// Asks until cloisterd answers, has been silent for too long, or it is late.
  template <class Ask>
  auto ask(Clock::time_point latest, const Ask& ask) {
    while (true) {
      const auto asked = Clock::now();
      auto answer = ask();
      if (answer || !is_silence(answer.error())) {
        answered();
        return answer;
      }
      if (!goes_on(asked) || Clock::now() >= latest) return answer;
      std::this_thread::sleep_for(between_looks);
    }
  }

  /// It has been silent for all of its time, and still is.
  bool given_up() const;

  static constexpr std::chrono::milliseconds between_looks{200};

 private:
  static bool is_silence(const Failure& failure);
  void answered();
  /// Of a request that was not answered: whether to ask again.
  bool goes_on(Clock::time_point asked);
  Clock::duration rest(Clock::time_point now) const CLOISTER_REQUIRES(lock_);

  mutable Mutex lock_;
  Clock::duration left_ CLOISTER_GUARDED_BY(lock_);                    ///< without the present silence
  std::optional<Clock::time_point> since_ CLOISTER_GUARDED_BY(lock_);  ///< of the present silence; none: it answers
  Clock::time_point last_answer_ CLOISTER_GUARDED_BY(lock_) = Clock::now();  ///< to anybody
};

}  // namespace cloister::toolstack::client
