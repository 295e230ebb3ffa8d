// See stop_turns.hpp.
#include "client/stop_turns.hpp"

#include <algorithm>
#include <utility>

namespace cloister::toolstack::client {

std::size_t places_of_a_user(std::size_t at_once, std::size_t users) {
  constexpr std::size_t most_together = 256;
  return std::clamp(most_together / std::max<std::size_t>(users, 1), std::size_t{1}, at_once);
}

StopTurns::StopTurns(std::vector<Domain> domains, std::size_t at_once) : domains_(std::move(domains)) {
  for (std::size_t i = 0; i < domains_.size(); ++i) users_[domains_[i].user].numbers.push_back(i);
  places_ = places_of_a_user(at_once, users_.size());
}

std::size_t StopTurns::most() const {
  std::size_t most = 0;
  for (const auto& [user, theirs] : users_) most += std::min(places_, theirs.numbers.size());
  return most;
}

std::optional<std::size_t> StopTurns::next() {
  for (auto& [user, theirs] : users_) {
    if (theirs.begun == theirs.numbers.size() || theirs.under_way == places_) continue;
    const std::size_t next = theirs.numbers[theirs.begun];
    if (theirs.under_way != 0 && domains_[next].order != domains_[theirs.numbers[theirs.begun - 1]].order) continue;
    ++theirs.begun;
    ++theirs.under_way;
    return next;
  }
  return std::nullopt;
}

void StopTurns::ended(std::size_t number) { --users_.at(domains_[number].user).under_way; }

bool StopTurns::all_begun() const {
  return std::ranges::all_of(users_,
                             [](const auto& entry) { return entry.second.begun == entry.second.numbers.size(); });
}

}  // namespace cloister::toolstack::client
