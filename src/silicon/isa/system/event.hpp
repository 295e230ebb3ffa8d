// Delivery of exceptions and interrupts through the IDT (SDM vol. 3A, ch. 6).
#pragma once

#include "silicon/isa/system/descriptor.hpp"

namespace cloister::silicon {

/// One attempt to deliver `event`; RIP in the frame is `rip`. On a miss nothing has changed but accessed flags.
tl::expected<void, Miss> deliver_once(Cpu& cpu, const Event& event, u64 rip);

/// What two exceptions in a row make (SDM vol. 3A, table 6-5).
enum class Combined : u8 { second, double_fault, triple_fault };
Combined combine(const Event& first, u8 second_vector);

/// A stack that event delivery and call gates push to, below `sp`, in the segment given; nothing is committed to the
/// processor. Sizes of 2, 4 or 8 bytes.
class StackWriter {
 public:
  StackWriter(Cpu& cpu, const Segment& ss, u64 sp, bool wide) : cpu_(cpu), ss_(ss), sp_(sp), wide_(wide) {}
  bool push(u64 value, unsigned bytes, Miss& miss);
  u64 sp() const { return sp_; }

 private:
  Cpu& cpu_;
  const Segment& ss_;
  u64 sp_;
  bool wide_;
};

}  // namespace cloister::silicon
