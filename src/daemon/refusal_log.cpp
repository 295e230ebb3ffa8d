// A thread waits for lines that were left out, and then for a while, again and again until all are told.
#include "daemon/refusal_log.hpp"

#include <algorithm>
#include <utility>

#include "host/threads.hpp"

namespace cloister::toolstack {

RefusalLog::RefusalLog(TellLost tell_lost, std::chrono::milliseconds quiet)
    : tell_lost_(std::move(tell_lost)), quiet_(quiet), thread_(start_thread([this] { serve(); })) {}

RefusalLog::~RefusalLog() {
  {
    const MutexLock held(lock_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void RefusalLog::add(unsigned uid, const std::function<void()>& write_line) {
  u64 lost = 0;
  {
    const MutexLock held(lock_);
    LineLimit& limit = users_[uid];
    if (!limit.admit(LineLimit::Clock::now())) {
      limit.lose();
      if (!std::exchange(lost_, true)) changed_.notify_all();
      return;
    }
    lost = limit.take_lost();
  }
  if (lost != 0) tell_lost_(uid, lost);
  write_line();
}

std::map<unsigned, u64> RefusalLog::take_lost(bool all) {
  std::map<unsigned, u64> taken;
  const auto now = LineLimit::Clock::now();
  for (auto& [uid, limit] : users_) {
    if (limit.lost() != 0 && (all || limit.admit(now))) taken[uid] = limit.take_lost();
  }
  return taken;
}

void RefusalLog::serve() {
  const MutexLock held(lock_);
  bool ends = false;
  while (!ends) {
    changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return lost_ || stopping_; });
    ends = changed_.wait_for(lock_, quiet_, [this]() CLOISTER_REQUIRES(lock_) { return stopping_; });
    const std::map<unsigned, u64> taken = take_lost(ends);
    lost_ = std::ranges::any_of(users_, [](const auto& entry) { return entry.second.lost() != 0; });
    const MutexUnlock apart(lock_);
    for (const auto& [uid, times] : taken) tell_lost_(uid, times);
  }
}

}  // namespace cloister::toolstack
