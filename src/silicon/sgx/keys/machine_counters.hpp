// The machine's counters, which outlive a process (vmx/epc_memory.hpp), in a memfd.
#pragma once

#include <atomic>
#include <memory>
#include <tl/expected.hpp>

#include "silicon/state/names.hpp"

namespace cloister::silicon {

struct Counts {
  u64 eid = 1, version = 1;
};
inline void raise(std::atomic<u64>& count, u64 least) {
  u64 now = count.load(std::memory_order_relaxed);
  while (now < least && !count.compare_exchange_weak(now, least, std::memory_order_relaxed)) {
  }
}

class MachineCounters final : public vmx::MachineCounters {
 public:
  using Pointer = std::shared_ptr<MachineCounters>;

  /// As vmx::Backend's create_counters() and adopt_counters().
  static tl::expected<Pointer, MemoryError> create(u64 boot);
  static tl::expected<Pointer, MemoryError> adopt(int descriptor);
  ~MachineCounters() override;

  u64 boot() const override;
  int descriptor() const override;

  /// Each from 1 on, never the same value twice.
  u64 next_eid();
  u64 next_version();
  /// What these will return next, and that they return nothing below it.
  Counts counts() const;
  void raise(const Counts& least);

  class Impl;
  explicit MachineCounters(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::silicon
