// The wait doubles with each restart within the window.
#include "toolstack/restarts.hpp"

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

std::string Restarts::why_not() const {
  return "restarted " + std::to_string(limit_) + " times within " + std::to_string(window_.count()) +
         " s (restart_limit, restart_window)";
}

}  // namespace cloister::toolstack
