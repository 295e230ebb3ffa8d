// Memory of the machine that outlives a process: EPC pages with their EPCM, and the counters of which no value may be
// drawn twice. Part of the silicon's door.
//
// Each lies in memfds that are sealed against any change of their size, so that no other holder of a descriptor can
// make an access fault. A broker creates them, passes descriptors on, and keeps its own: pages are there as long as
// somebody has one. What is never touched costs nothing, however large it is.
//
// Ownership: an object has descriptors and mappings of its own; create() makes them, adopt() borrows the given
// descriptors and duplicates them. All functions are thread-safe.
#pragma once

#include <memory>
#include <tl/expected.hpp>

#include "arch/types.hpp"

namespace cloister::silicon {

/// Why memory could not be made, or why a descriptor is refused.
enum class MemoryError : u8 {
  no_memory,     ///< the host has no memory, address space or descriptors left
  not_sealed,    ///< not a memfd with F_SEAL_SHRINK and F_SEAL_GROW
  wrong_size,    ///< not of the size that so many pages have
  wrong_layout,  ///< made by a silicon with another layout, or for something else
  not_writable,  ///< opened or sealed against writing
};

/// "no_memory", … for messages.
const char* name_of(MemoryError error);

/// The EPC of one Package: a memfd with its pages, and one with the EPCM and counts of what happened (diagnostics.hpp).
///
/// At most one Package runs on it at any time, in any process. A Package that takes over from one that died starts as
/// after a reset of the processors: nobody is inside an enclave, no leaf is in progress; the pages stay whose they are.
class EpcMemory {
 public:
  using Pointer = std::shared_ptr<EpcMemory>;

  /// Free pages, less than 2^32 of them.
  static tl::expected<Pointer, MemoryError> create(u64 pages);
  /// The same memory as in another process, by its descriptors; `pages` as it was created with. Checks all that a later
  /// access depends on: size, seals, layout.
  static tl::expected<Pointer, MemoryError> adopt(int pages_descriptor, int epcm_descriptor, u64 pages);
  ~EpcMemory();
  EpcMemory(const EpcMemory&) = delete;
  EpcMemory& operator=(const EpcMemory&) = delete;

  u64 pages() const;
  /// To pass on; both belong to this object, close-on-exec.
  int pages_descriptor() const;
  int epcm_descriptor() const;

  class Impl;
  Impl& impl() { return *impl_; }
  explicit EpcMemory(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

/// What the platform counts from its power-on, for all processes of a machine: enclave ids, versions of evicted pages.
/// With the boot number they never repeat, so neither does a paging key with a version, nor a report KEYID with another
/// boot's (SDM vol. 3D, 38.3 ECREATE and EWB, table 38-64). Several processes draw from it at the same time.
class MachineCounters {
 public:
  using Pointer = std::shared_ptr<MachineCounters>;

  /// A power-on of the machine. `boot` differs from one to the next.
  static tl::expected<Pointer, MemoryError> create(u64 boot);
  /// The same counters as in another process.
  static tl::expected<Pointer, MemoryError> adopt(int descriptor);
  ~MachineCounters();
  MachineCounters(const MachineCounters&) = delete;
  MachineCounters& operator=(const MachineCounters&) = delete;

  u64 boot() const;
  /// To pass on; belongs to this object, close-on-exec.
  int descriptor() const;

  /// Each from 1 on, never the same value twice.
  u64 next_eid();
  u64 next_version();

  class Impl;
  explicit MachineCounters(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloister::silicon
