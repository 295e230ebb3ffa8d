// What the log says of refused requests, when there are more of them than it takes.
#include "daemon/refusal_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace cloister::tests {
namespace {

using namespace std::chrono_literals;
using namespace toolstack;

class Refusals : public testing::Test {
 protected:
  u64 told(unsigned uid) {
    const MutexLock held(lock_);
    return lost_[uid];
  }
  RefusalLog::TellLost tell_ = [this](unsigned uid, u64 times) {
    const MutexLock held(lock_);
    lost_[uid] += times;
  };
  int add(RefusalLog& log, unsigned uid, int lines) {
    int written = 0;
    for (int i = 0; i < lines; ++i) log.add(uid, [&] { ++written; });
    return written;
  }

  Mutex lock_;
  std::map<unsigned, u64> lost_ CLOISTER_GUARDED_BY(lock_);
};

TEST_F(Refusals, OfAUserAreLimitedAndCounted) {
  constexpr int many = 45'000;
  int written = 0;
  {
    RefusalLog log(tell_);
    written = add(log, 1000, many);
    EXPECT_EQ(add(log, 1001, 3), 3) << "another one's do not count";
  }
  EXPECT_GE(written, LineLimit::at_once);
  EXPECT_LT(written, LineLimit::at_once + 600) << "ten a second, of a test that takes less than a minute";
  EXPECT_EQ(told(1000), static_cast<u64>(many - written)) << "none is neither written nor counted";
  EXPECT_EQ(told(1001), 0u);
}

TEST_F(Refusals, ThatWereLeftOutAreToldWhenNoMoreCome) {
  RefusalLog log(tell_, 10ms);
  const auto lost = static_cast<u64>(1000 - add(log, 1000, 1000));
  for (int attempts = 0; attempts < 3000 && told(1000) < lost; ++attempts) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(told(1000), lost);
}

}  // namespace
}  // namespace cloister::tests
