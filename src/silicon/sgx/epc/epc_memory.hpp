// EPC with its EPCM, which outlives a process (vmx/epc_memory.hpp), in memfds.
#pragma once

#include <memory>
#include <tl/expected.hpp>

#include "silicon/state/names.hpp"

namespace cloister::silicon {

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

}  // namespace cloister::silicon
