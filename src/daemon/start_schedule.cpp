// See start_schedule.hpp.
#include "daemon/start_schedule.hpp"

#include <algorithm>
#include <cassert>

namespace cloister::toolstack {

StartSchedule::StartSchedule(const std::vector<PendingStart>& all, Time gate) : gate_(gate) {
  for (const PendingStart& what : all)
    all_.push_back({.what = what, .restarts = Restarts(what.restart_limit, std::chrono::seconds(what.restart_window))});
}

StartSchedule::One& StartSchedule::one(const std::string& uuid) {
  const auto found = std::ranges::find(all_, uuid, [](const One& one) { return one.what.uuid; });
  assert(found != all_.end());
  return *found;
}

const StartSchedule::One* StartSchedule::fresh() const {
  for (const One& one : all_) {
    if (one.state == State::fresh) return &one;
    if (one.state == State::first_try && one.what.delay_seconds != 0) return nullptr;
  }
  return nullptr;
}

bool StartSchedule::all_tried() const {
  return std::ranges::none_of(all_, [](const One& one) { return one.state == State::fresh; });
}

std::optional<PendingStart> StartSchedule::next(Time now) {
  if (const One* const first = gate_ <= now ? fresh() : nullptr) {
    one(first->what.uuid).state = State::first_try;
    return first->what;
  }
  if (!all_tried()) return std::nullopt;
  for (One& one : all_) {
    if (one.state != State::waiting || one.due > now) continue;
    one.state = State::next_try;
    return one.what;
  }
  return std::nullopt;
}

std::optional<StartSchedule::Time> StartSchedule::next_time() const {
  std::optional<Time> time;
  if (!all_tried()) return fresh() != nullptr ? std::optional(gate_) : std::nullopt;
  for (const One& one : all_) {
    if (one.state == State::waiting) time = std::min(time.value_or(one.due), one.due);
  }
  return time;
}

StartSchedule::Time StartSchedule::started(const std::string& uuid, Time now) {
  One& that = one(uuid);
  if (that.state == State::first_try) gate_ = std::max(gate_, now + std::chrono::seconds(that.what.delay_seconds));
  that.state = State::over;
  return gate_;
}

bool StartSchedule::failed(const std::string& uuid, Time now) {
  One& that = one(uuid);
  const auto wait = that.restarts.next(now);
  that.state = wait ? State::waiting : State::over;
  if (wait) that.due = now + *wait;
  return wait.has_value();
}

void StartSchedule::held(const std::string& uuid) {
  One& that = one(uuid);
  that.state = that.state == State::first_try ? State::fresh : State::waiting;
}

bool StartSchedule::done() const {
  return std::ranges::all_of(all_, [](const One& one) { return one.state == State::over; });
}

StartSchedules::StartSchedules(const std::vector<PendingStart>& all, u32 at_once, const std::map<unsigned, Time>& gates)
    : at_once_(at_once) {
  std::map<unsigned, std::vector<PendingStart>> by_user;
  for (const PendingStart& what : all) by_user[what.user].push_back(what);
  for (const auto& [user, theirs] : by_user) {
    const auto gate = gates.find(user);
    users_.emplace(user, OfUser{.schedule = StartSchedule(theirs, gate == gates.end() ? Time() : gate->second)});
  }
}

std::size_t StartSchedules::most() const {
  std::size_t most = 0;
  for (const auto& [user, theirs] : users_) most += std::min<std::size_t>(at_once_, theirs.schedule.size());
  return most;
}

std::optional<PendingStart> StartSchedules::next(Time now) {
  auto turn = users_.upper_bound(last_);
  for (std::size_t i = 0; i < users_.size(); ++i, ++turn) {
    if (turn == users_.end()) turn = users_.begin();
    OfUser& theirs = turn->second;
    if (theirs.under_way == at_once_) continue;
    auto found = theirs.schedule.next(now);
    if (!found) continue;
    ++theirs.under_way;
    last_ = turn->first;
    return found;
  }
  return std::nullopt;
}

std::optional<StartSchedules::Time> StartSchedules::next_time() const {
  std::optional<Time> time;
  for (const auto& [user, theirs] : users_) {
    const auto one = theirs.under_way < at_once_ ? theirs.schedule.next_time() : std::nullopt;
    if (one) time = std::min(time.value_or(*one), *one);
  }
  return time;
}

StartSchedule& StartSchedules::ended(const PendingStart& what) {
  OfUser& theirs = users_.at(what.user);
  --theirs.under_way;
  return theirs.schedule;
}

StartSchedules::Time StartSchedules::started(const PendingStart& what, Time now) {
  return ended(what).started(what.uuid, now);
}

bool StartSchedules::failed(const PendingStart& what, Time now) { return ended(what).failed(what.uuid, now); }

void StartSchedules::held(const PendingStart& what) { ended(what).held(what.uuid); }

bool StartSchedules::done() const {
  return std::ranges::all_of(users_, [](const auto& entry) { return entry.second.schedule.done(); });
}

}  // namespace cloister::toolstack
