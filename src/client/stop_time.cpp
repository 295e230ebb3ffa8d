// Each domain takes the place that is free first. None ends later than here if another takes less than it can.
#include "client/stop_time.hpp"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <string>
#include <vector>

namespace cloister::toolstack::client {

using std::chrono::seconds;

seconds longest_stop(std::span<const StopTime> domains, std::size_t at_a_time) {
  seconds all{};
  for (auto first = domains.begin(); first != domains.end();) {
    const auto last = std::find_if(first, domains.end(), [&](const StopTime& d) { return d.order != first->order; });
    std::vector<seconds> places(at_a_time, all);
    for (; first != last; ++first) *std::ranges::min_element(places) += first->longest;
    all = std::ranges::max(places);
  }
  return all;
}

void ask_for_time(seconds time) {
  const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(time).count();
  ::sd_notify(0, ("EXTEND_TIMEOUT_USEC=" + std::to_string(microseconds)).c_str());
}

}  // namespace cloister::toolstack::client
