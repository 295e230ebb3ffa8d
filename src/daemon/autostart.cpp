// What somebody else has started, undefined or taken off the list meanwhile is as good as started.
#include "daemon/autostart.hpp"

#include <algorithm>

#include "host/log.hpp"
#include "host/threads.hpp"

namespace cloister::toolstack {

AutostartThreads::AutostartThreads(Domains& domains, u32 at_once)
    : domains_(domains), schedule_(domains.autostart().pending) {
  const std::size_t most = std::min<std::size_t>(at_once, schedule_.size());
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
    if (const auto uuid = schedule_.next(Clock::now())) {
      attempt(*uuid);
      changed_.notify_all();
    } else {
      changed_.wait_until(lock_, schedule_.next_time().value_or(Clock::now() + std::chrono::hours(1)));
    }
  }
}

void AutostartThreads::attempt(const std::string& uuid) {
  tl::expected<void, ApiError> result;
  {
    const MutexUnlock apart(lock_);
    const auto pending = domains_.autostart().pending;
    if (std::ranges::any_of(pending, [&](const PendingStart& one) { return one.uuid == uuid; })) {
      if (auto started = domains_.start(uuid, false); !started && !domains_.lives(uuid))
        result = tl::unexpected(started.error());
    }
  }
  const auto now = Restarts::Clock::now();
  if (result) {
    schedule_.started(uuid, now);
    domains_.settle(uuid, "");
    return;
  }
  const ApiError& error = result.error();
  const std::string why =
      error.file.empty() ? error.message : format(error.file, {{error.line, error.column}, error.message});
  const bool again = schedule_.failed(uuid, now);
  log(again ? LogLevel::warning : LogLevel::error, again ? "start-failed" : "start-given-up",
      {{"uuid", uuid}, {"error", why}});
  if (!again) domains_.settle(uuid, why);
}

}  // namespace cloister::toolstack
