// What somebody else has started, undefined or taken off the list meanwhile is as good as started.
#include "daemon/autostart.hpp"

#include <algorithm>

#include "host/log.hpp"
#include "host/threads.hpp"

namespace cloister::toolstack {

namespace {

/// Of all users' together. With fewer than their domains would have, users take turns.
constexpr std::size_t most_threads = 256;

}  // namespace

AutostartThreads::AutostartThreads(Domains& domains, u32 at_once)
    : domains_(domains), schedule_(domains.autostart().pending, at_once) {
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
    if (const auto what = schedule_.next(Clock::now())) {
      attempt(*what);
      changed_.notify_all();
    } else {
      changed_.wait_until(lock_, schedule_.next_time().value_or(Clock::now() + std::chrono::hours(1)));
    }
  }
}

void AutostartThreads::attempt(const PendingStart& what) {
  tl::expected<void, ApiError> result;
  {
    const MutexUnlock apart(lock_);
    const auto pending = domains_.autostart().pending;
    if (std::ranges::any_of(pending, [&](const PendingStart& one) { return one.uuid == what.uuid; })) {
      if (auto started = domains_.start(what.uuid, false); !started && !domains_.lives(what.uuid))
        result = tl::unexpected(started.error());
    }
  }
  const auto now = Restarts::Clock::now();
  if (result) {
    schedule_.started(what, now);
    domains_.settle(what.uuid, "");
    return;
  }
  const ApiError& error = result.error();
  const std::string why =
      error.file.empty() ? error.message : format(error.file, {{error.line, error.column}, error.message});
  const bool again = schedule_.failed(what, now);
  log(again ? LogLevel::warning : LogLevel::error, again ? "start-failed" : "start-given-up",
      {{"domain", what.name}, {"uuid", what.uuid}, {"error", why}});
  if (!again) domains_.settle(what.uuid, why);
}

}  // namespace cloister::toolstack
