// The oldest job that may begin is begun by whichever thread is free.
#include "http/workers.hpp"

#include <unistd.h>

#include <algorithm>

#include "host/threads.hpp"

namespace cloister::toolstack {

bool is_privileged(unsigned uid) { return uid == 0 || uid == ::geteuid(); }

Workers::Workers(const Limits& limits) : limits_(limits) {
  try {
    while (threads_.size() < limits_.threads) threads_.push_back(start_thread([this] { work(); }));
  } catch (const std::system_error&) {
    end();
    throw;
  }
}

Workers::~Workers() { end(); }

void Workers::end() {
  {
    const MutexLock held(lock_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Workers::add(unsigned uid, std::function<void()> job) {
  {
    const MutexLock held(lock_);
    waiting_.push_back({uid, std::move(job)});
  }
  changed_.notify_one();
}

std::list<Workers::Job>::iterator Workers::next() {
  const unsigned for_others = limits_.threads - limits_.privileged;
  return std::ranges::find_if(waiting_, [&](const Job& job) CLOISTER_REQUIRES(lock_) {
    const auto running = running_.find(job.uid);
    return (running == running_.end() || running->second < limits_.of_a_user) &&
           (is_privileged(job.uid) || others_running_ < for_others);
  });
}

void Workers::work() {
  const MutexLock held(lock_);
  while (true) {
    auto job = waiting_.end();
    changed_.wait(lock_, [&]() CLOISTER_REQUIRES(lock_) {
      return (job = next()) != waiting_.end() || (ending_ && waiting_.empty());
    });
    if (job == waiting_.end()) return;
    const unsigned uid = job->uid;
    const std::function<void()> work = std::move(job->work);
    waiting_.erase(job);
    ++running_[uid];
    others_running_ += is_privileged(uid) ? 0 : 1;
    {
      const MutexUnlock apart(lock_);
      work();
    }
    others_running_ -= is_privileged(uid) ? 0 : 1;
    if (--running_[uid] == 0) running_.erase(uid);
    // Its end may let another one begin, or all threads end.
    changed_.notify_all();
  }
}

}  // namespace cloister::toolstack
