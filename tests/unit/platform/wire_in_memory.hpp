// A wire whose other end is the test's.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <vector>

#include "host/mutex.hpp"
#include "platform/virtio/wire.hpp"

namespace cloister::platform::virtio {

class WireInMemory final : public Wire {
 public:
  using Frame = std::vector<std::byte>;
  explicit WireInMemory(unsigned lanes = 1) : others(lanes - 1) {}
  bool up() const override { return is_up; }
  unsigned lanes() const override { return static_cast<unsigned>(1 + others.size()); }
  std::deque<Frame>& lane(unsigned number) { return number == 0 ? come : others[number - 1]; }
  std::span<const std::byte> frame(unsigned lane) const override {
    const std::deque<Frame>& from = lane == 0 ? come : others[lane - 1];
    return from.empty() ? std::span<const std::byte>() : std::span<const std::byte>(from.front());
  }
  void pop(unsigned number) override { lane(number).pop_front(); }
  bool has_room() const override { return room != 0; }
  FrameHeader header(unsigned) const override { return left; }
  u64 offloads() const override { return offered; }
  void take_offloads(u64 offloads) override { taken = offloads; }
  bool send(unsigned lane, const FrameHeader& header, std::span<const std::byte> frame) override {
    --room;
    by_lane.push_back(lane);
    if (!takes) return false;
    left_to_it.push_back(header);
    gone.emplace_back(frame.begin(), frame.end());
    if (answer) answer(gone.back());
    return true;
  }
  void flush() override {
    ++flushes;
    if (flushed) flushed();
  }
  void wait(Lanes for_frames) override {
    ++waits;
    for (unsigned i = 0; i < lanes(); ++i)
      if ((for_frames >> i & 1) != 0 && !lane(i).empty()) return;
    const MutexLock held(lock_);
    changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return woken_; });
    woken_ = false;
  }
  void wake() override {
    const MutexLock held(lock_);
    woken_ = true;
    changed_.notify_all();
  }

  std::deque<Frame> come;                 ///< in the first lane
  std::vector<std::deque<Frame>> others;  ///< in those after it
  std::vector<Frame> gone;
  std::vector<unsigned> by_lane;  ///< in which that was
  FrameHeader left{};             ///< to who gets what comes
  std::vector<FrameHeader> left_to_it;
  u64 offered = 0;
  std::atomic<u64> taken = 0;
  std::function<void(const Frame&)> answer{};  ///< is told what was sent
  std::function<void()> flushed{};
  std::atomic<bool> is_up = true;
  bool takes = true;
  unsigned room = ~0u, flushes = 0;
  std::atomic<unsigned> waits = 0;

 private:
  Mutex lock_;
  Condition changed_;
  bool woken_ CLOISTER_GUARDED_BY(lock_) = false;
};

}  // namespace cloister::platform::virtio
