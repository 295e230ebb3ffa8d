// The diagnostics door on an EPCM file (vmx/diagnostics.hpp).
#pragma once

#include <memory>
#include <tl/expected.hpp>

#include "silicon/sgx/epc/package_impl.hpp"
#include "vmx/diagnostics.hpp"

namespace cloister::silicon::diagnostics {

using vmx::diagnostics::Events;
using vmx::diagnostics::Page;
using vmx::diagnostics::page_types;
using vmx::diagnostics::PageCounts;

class Observer final : public vmx::diagnostics::Observer {
 public:
  /// Duplicates the descriptor, after checks of seals, size and layout. A read-only one is enough.
  static tl::expected<Observer, MemoryError> open(int epcm_descriptor);
  /// Looks at a package of this process; needs it no longer than during the call.
  static tl::expected<Observer, MemoryError> of(PackageImpl& package);
  Observer(Observer&&) noexcept;
  Observer& operator=(Observer&&) noexcept;
  ~Observer() override;

  u64 pages() const override;
  std::vector<Page> valid_pages() const override;
  PageCounts count() const override;
  Events events() const override;

 private:
  class Impl;
  explicit Observer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// As the door hands it out.
tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, MemoryError> on_heap(
    tl::expected<Observer, MemoryError> observer);

}  // namespace cloister::silicon::diagnostics
