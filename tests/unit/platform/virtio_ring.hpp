// A queue of a virtio device from the driver's side, beside others, each with memory of its own.
#pragma once

#include "unit/platform/virtio_driver.hpp"

namespace cloister::platform::virtio {

/// One of its queues from the driver's side, with memory of its own.
class Ring {
 public:
  static constexpr u16 size = 8;
  Ring(Driver& driver, TestedMemory& memory, u16 number)
      : driver_(driver), memory_(memory), number_(number), base_(0x4000u + 0x4000u * number) {}
  void begin() {
    for (u64 at = base_; at < base_ + 0x3000; at += 8) memory_.put<u64>(at, 0);
    next_ = 0;
    driver_.set(common_queue_select, number_, 2);
    driver_.set(common_queue_size, size, 2);
    driver_.set(common_queue_vector, number_ + 1u, 2);
    driver_.set(common_queue_descriptors, base_, 8);
    driver_.set(common_queue_driver, base_ + 0x1000, 8);
    driver_.set(common_queue_device, base_ + 0x2000, 8);
    driver_.set(common_queue_enable, 1, 2);
  }
  void describe(u16 index, const Descriptor& one) { memory_.put(base_ + 16u * index, one); }
  void offer(u16 head) {
    memory_.put<u16>(base_ + 0x1004 + 2u * (next_++ % size), head);
    memory_.put<u16>(base_ + 0x1002, next_);
  }
  void jump(u16 index) { memory_.put<u16>(base_ + 0x1002, index); }
  void notify() { driver_.notify(number_); }
  u16 used() const { return memory_.get<u16>(base_ + 0x2002); }
  u32 used_id(u16 index) const { return memory_.get<u32>(base_ + 0x2004 + 8u * (index % size)); }
  u32 used_bytes(u16 index) const { return memory_.get<u32>(base_ + 0x2008 + 8u * (index % size)); }

 private:
  Driver& driver_;
  TestedMemory& memory_;
  const u16 number_;
  const u64 base_;
  u16 next_ = 0;
};

}  // namespace cloister::platform::virtio
