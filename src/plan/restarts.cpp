// The wait doubles with each restart within the window.
#include "plan/restarts.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace cloister::toolstack {

namespace {

constexpr std::size_t at_once = 3, doublings = 5;  // 0, 0, 0, 1, 2, 4, 8, 16, 32, 32, … seconds

}  // namespace

Restarts::Restarts(const DomainConfig& config)
    : Restarts(config.restart_limit, std::chrono::seconds(config.restart_window)) {}

std::optional<std::chrono::seconds> Restarts::next(Clock::time_point now) {
  while (!within_.empty() && now - within_.front() >= window_) within_.pop_front();
  const std::size_t before = within_.size();
  if (limit_ != 0 && before >= limit_) return std::nullopt;
  within_.push_back(now);
  if (before < at_once) return std::chrono::seconds(0);
  return std::chrono::seconds(1 << std::min(before - at_once, doublings));
}

bool Restarts::wait_for_next(const std::function<void(const std::string& why)>& refused,
                             const std::function<bool(std::chrono::seconds)>& wait) {
  const auto long_enough = next(Clock::now());
  if (!long_enough) {
    refused(why_not());
    return false;
  }
  return long_enough->count() == 0 || wait(*long_enough);
}

std::string Restarts::why_not() const {
  return "restarted " + std::to_string(limit_) + " times within " + std::to_string(window_.count()) +
         " s (restart_limit, restart_window)";
}

bool restarts_here(Restarts& restarts, const std::string& name, const StopSource& stop,
                   std::optional<Restarts::Clock::time_point> deadline) {
  using Clock = Restarts::Clock;
  return restarts.wait_for_next(
      [&](const std::string& why) { spdlog::error("cloister: {}: {}", name, why); },
      [&](std::chrono::seconds wait) {
        return stop.sleep_until(std::min(Clock::now() + wait, deadline.value_or(Clock::time_point::max())));
      });
}

}  // namespace cloister::toolstack
