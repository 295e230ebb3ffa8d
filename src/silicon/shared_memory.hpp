// Memory of the machine that outlives a process (vmx/epc_memory.hpp), in memfds.
#pragma once

#include <memory>
#include <tl/expected.hpp>

#include "vmx/epc_memory.hpp"

namespace cloister::silicon {

using vmx::MemoryError;

class EpcMemory final : public vmx::EpcMemory {
 public:
  using Pointer = std::shared_ptr<EpcMemory>;

  /// As vmx::Backend's create_epc() and adopt_epc().
  static tl::expected<Pointer, MemoryError> create(u64 pages);
  static tl::expected<Pointer, MemoryError> adopt(int pages_descriptor, int epcm_descriptor, u64 pages);
  ~EpcMemory() override;

  u64 pages() const override;
  int pages_descriptor() const override;
  int epcm_descriptor() const override;
  tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, MemoryError> observe() const override;

  class Impl;
  Impl& impl() { return *impl_; }
  explicit EpcMemory(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

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

  class Impl;
  explicit MachineCounters(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::silicon
