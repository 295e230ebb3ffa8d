// Each domain takes the place of its user's that is free first. None ends later than here if another takes less than it
// can, so less time for one is less for all.
#include "client/stop_time.hpp"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace cloister::toolstack::client {

using std::chrono::seconds;

namespace {

std::map<unsigned, std::vector<StopTime>> by_user(std::span<const StopTime> domains) {
  std::map<unsigned, std::vector<StopTime>> users;
  for (const StopTime& domain : domains) users[domain.user].push_back(domain);
  return users;
}

/// Of one user's, if none takes longer than `cut`.
seconds longest_of_user(std::span<const StopTime> domains, std::size_t at_a_time, seconds cut) {
  seconds all{};
  for (auto first = domains.begin(); first != domains.end();) {
    const auto last = std::find_if(first, domains.end(), [&](const StopTime& d) { return d.order != first->order; });
    std::vector<seconds> places(at_a_time, all);
    for (; first != last; ++first) *std::ranges::min_element(places) += std::min(first->longest, cut);
    all = std::ranges::max(places);
  }
  return all;
}

/// The longest cut that fits.
seconds cut_for(std::span<const StopTime> domains, std::size_t at_a_time, seconds most, seconds least) {
  if (longest_of_user(domains, at_a_time, seconds::max()) <= most) return seconds::max();
  seconds fits = least, too_long = most + seconds(1);
  while (too_long - fits > seconds(1)) {
    const seconds middle = fits + (too_long - fits) / 2;
    (longest_of_user(domains, at_a_time, middle) <= most ? fits : too_long) = middle;
  }
  return fits;
}

}  // namespace

seconds longest_stop(std::span<const StopTime> domains, std::size_t at_a_time) {
  seconds all{};
  for (const auto& [user, theirs] : by_user(domains))
    all = std::max(all, longest_of_user(theirs, at_a_time, seconds::max()));
  return all;
}

void fit_into(std::span<StopTime> domains, std::size_t at_a_time, seconds most, seconds least) {
  std::map<unsigned, seconds> cuts;
  for (const auto& [user, theirs] : by_user(domains)) cuts[user] = cut_for(theirs, at_a_time, most, least);
  for (StopTime& domain : domains) domain.longest = std::min(domain.longest, cuts.at(domain.user));
}

void ask_for_time(seconds time) {
  const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(time).count();
  ::sd_notify(0, ("EXTEND_TIMEOUT_USEC=" + std::to_string(microseconds)).c_str());
}

}  // namespace cloister::toolstack::client
