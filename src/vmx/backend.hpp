// An implementation of this door: what makes packages, and the memory that outlives them. There is one for each kind of
// machine; tools/ chooses.
#pragma once

#include <span>

#include "vmx/package.hpp"

namespace cloister::vmx {

/// Pages of an EpcMemory in a row, by their place in it.
struct EpcRow {
  u64 first = 0, pages = 0;
};

/// Any thread.
class Backend {
 public:
  virtual ~Backend() = default;

  /// Takes what a filter of system calls would forbid to take later. Without it, packages do without.
  virtual void prepare() const {}

  /// What CPUID would return in root mode on a package that is made so.
  virtual CpuidRegs cpuid(const Package::Config& config, u32 leaf, u32 subleaf) const = 0;
  virtual std::unique_ptr<Package> make_package(Package::Config config) const = 0;

  /// Free pages, less than 2^32 of them.
  virtual tl::expected<EpcMemory::Pointer, MemoryError> create_epc(u64 pages) const = 0;
  /// The same memory as in another process, by its descriptors; `pages` as it was created with. Checks all that a later
  /// access depends on: size, seals, layout.
  virtual tl::expected<EpcMemory::Pointer, MemoryError> adopt_epc(int pages_descriptor, int epcm_descriptor,
                                                                  u64 pages) const = 0;
  /// Gives the host's memory of free pages back while a package runs: they are as never used. Nobody uses them, and no
  /// package has them until they are somebody's again. `kept`: all pages that are somebody's, in ascending order.
  /// False: the host did not do it for all.
  virtual bool discard_epc(const EpcMemory& memory, const EpcRow& row, std::span<const EpcRow> kept) const = 0;
  /// Bytes of the host's memory that both files have beyond the most that a package can use which has no other pages
  /// than these, in ascending order.
  virtual u64 epc_beyond(const EpcMemory& memory, std::span<const EpcRow> pages) const = 0;
  /// A power-on of the machine. `boot` differs from one to the next.
  virtual tl::expected<MachineCounters::Pointer, MemoryError> create_counters(u64 boot) const = 0;
  /// The same counters as in another process.
  virtual tl::expected<MachineCounters::Pointer, MemoryError> adopt_counters(int descriptor) const = 0;
};

}  // namespace cloister::vmx
