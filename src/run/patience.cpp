#include "run/patience.hpp"

namespace cloister::toolstack {

bool Patience::over() {
  const Clock::time_point now = Clock::now();
  if (deadline_ && now >= *deadline_ + longest) return true;
  if (!stop_.flag() && !stop_.shutdown()) return false;
  Clock::rep asked = 0;
  if (asked_.compare_exchange_strong(asked, now.time_since_epoch().count())) return false;
  return now.time_since_epoch() - Clock::duration(asked) >= longest;
}

}  // namespace cloister::toolstack
