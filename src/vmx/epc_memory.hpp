// Memory of the machine that outlives a process: EPC pages with their EPCM, and the counters of which no value may be
// drawn twice. A Backend makes them.
//
// Each lies in memfds that are sealed against any change of their size, so that no other holder of a descriptor can
// make an access fault. A broker creates them, passes descriptors on, and keeps its own: pages are there as long as
// somebody has one. What is never touched costs nothing, however large it is.
//
// Ownership: an object has descriptors and mappings of its own; what is adopted is borrowed and duplicated. All
// functions are thread-safe.
#pragma once

#include <memory>
#include <tl/expected.hpp>

#include "arch/types.hpp"
#include "vmx/diagnostics.hpp"

namespace cloister::vmx {

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

  EpcMemory() = default;
  virtual ~EpcMemory() = default;
  EpcMemory(const EpcMemory&) = delete;
  EpcMemory& operator=(const EpcMemory&) = delete;

  virtual u64 pages() const = 0;
  /// To pass on; both belong to this object, close-on-exec.
  virtual int pages_descriptor() const = 0;
  virtual int epcm_descriptor() const = 0;
  /// The diagnostics door on it.
  virtual tl::expected<std::unique_ptr<diagnostics::Observer>, MemoryError> observe() const = 0;
};

/// What a platform counts from its power-on, for all processes that it is: enclave ids, versions of evicted pages.
/// With the boot number they never repeat, so neither does a paging key with a version, nor a report KEYID with another
/// boot's (SDM vol. 3D, 38.3 ECREATE and EWB, table 38-64). Several processes draw from it at the same time.
class MachineCounters {
 public:
  using Pointer = std::shared_ptr<MachineCounters>;

  MachineCounters() = default;
  virtual ~MachineCounters() = default;
  MachineCounters(const MachineCounters&) = delete;
  MachineCounters& operator=(const MachineCounters&) = delete;

  virtual u64 boot() const = 0;
  /// To pass on; belongs to this object, close-on-exec.
  virtual int descriptor() const = 0;
};

}  // namespace cloister::vmx
