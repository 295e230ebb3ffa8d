// See start_schedule.hpp.
#include "daemon/start_schedule.hpp"

#include <algorithm>
#include <cassert>

namespace cloister::toolstack {

StartSchedule::StartSchedule(const std::vector<PendingStart>& all) {
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

std::optional<std::string> StartSchedule::next(Time now) {
  for (One& one : all_) {
    if (one.state != State::waiting || one.due > now) continue;
    one.state = State::next_try;
    return one.what.uuid;
  }
  const One* const first = gate_ <= now ? fresh() : nullptr;
  if (first == nullptr) return std::nullopt;
  one(first->what.uuid).state = State::first_try;
  return first->what.uuid;
}

std::optional<StartSchedule::Time> StartSchedule::next_time() const {
  std::optional<Time> time;
  if (fresh() != nullptr) time = gate_;
  for (const One& one : all_) {
    if (one.state == State::waiting) time = std::min(time.value_or(one.due), one.due);
  }
  return time;
}

void StartSchedule::started(const std::string& uuid, Time now) {
  One& that = one(uuid);
  if (that.state == State::first_try) gate_ = std::max(gate_, now + std::chrono::seconds(that.what.delay_seconds));
  that.state = State::over;
}

bool StartSchedule::failed(const std::string& uuid, Time now) {
  One& that = one(uuid);
  const auto wait = that.restarts.next(now);
  that.state = wait ? State::waiting : State::over;
  if (wait) that.due = now + *wait;
  return wait.has_value();
}

bool StartSchedule::done() const {
  return std::ranges::all_of(all_, [](const One& one) { return one.state == State::over; });
}

}  // namespace cloister::toolstack
