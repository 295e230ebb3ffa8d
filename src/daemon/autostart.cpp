// What somebody else has started, undefined or taken off the list meanwhile is as good as started.
#include "daemon/autostart.hpp"

#include <algorithm>

#include "host/log.hpp"
#include "host/threads.hpp"
#include "verbs/start_delay.hpp"

namespace cloister::toolstack {

namespace {

/// Of all users' together. With fewer than their domains would have, users take turns.
constexpr std::size_t most_threads = 256;

/// Whether the host still goes down is looked at so often.
constexpr std::chrono::milliseconds turn_interval{500};

/// A delay that an earlier daemon began is no longer than any, whatever is written down.
StartSchedules schedule_of(const AutostartInfo& info, u32 at_once) {
  const auto latest = Restarts::Clock::now() + std::chrono::seconds(longest_start_delay);
  std::map<unsigned, StartSchedules::Time> gates;
  for (const auto& [user, until] : info.delayed)
    gates.emplace(user, std::min(latest, StartSchedules::Time(std::chrono::milliseconds(until))));
  return {info.pending, at_once, gates};
}

std::string text_of(const ApiError& error) {
  return error.file.empty() ? error.message : format(error.file, {{error.line, error.column}, error.message});
}

}  // namespace

AutostartThreads::AutostartThreads(Domains& domains, u32 at_once)
    : domains_(domains), schedule_(schedule_of(domains.autostart(), at_once)) {
  const std::size_t most = std::min(most_threads, schedule_.most());
  if (const std::string few = add_threads(threads_, most, [this] { run(); }); !few.empty())
    log(LogLevel::warning, "few-threads", {{"error", few}});
}

AutostartThreads::~AutostartThreads() {
  {
    const MutexLock held(lock_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void AutostartThreads::run() {
  using Clock = Restarts::Clock;
  const MutexLock held(lock_);
  while (!stopping_ && !schedule_.done()) {
    if (domains_.going_down()) {
      changed_.wait_until(lock_, Clock::now() + turn_interval);
    } else if (const auto what = schedule_.next(Clock::now())) {
      attempt(*what);
      changed_.notify_all();
    } else {
      changed_.wait_until(lock_, schedule_.next_time().value_or(Clock::now() + std::chrono::hours(1)));
    }
  }
}

void AutostartThreads::attempt(const PendingStart& what) {
  std::optional<ApiError> error;
  {
    const MutexUnlock apart(lock_);
    if (domains_.is_pending(what.uuid)) {
      if (auto started = domains_.start(what.uuid, false); !started && !domains_.lives(what.uuid))
        error = started.error();
    }
  }
  const auto now = Restarts::Clock::now();
  if (!error) {
    const auto next = schedule_.started(what, now);
    if (next > now) domains_.delay(what.user, next);
    domains_.settle(what.uuid, "");
    return;
  }
  if (error->host_goes_down) {
    schedule_.held(what);
    return;
  }
  const std::string why = text_of(*error);
  const bool again = schedule_.failed(what, now);
  log(again ? LogLevel::warning : LogLevel::error, again ? "start-failed" : "start-given-up",
      {{"domain", what.name}, {"uuid", what.uuid}, {"error", why}});
  if (again) {
    domains_.not_yet(what.uuid, why);
  } else {
    domains_.settle(what.uuid, why);
  }
}

}  // namespace cloister::toolstack
