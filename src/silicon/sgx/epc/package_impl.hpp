// A package's EPC, with an EPCM entry and a page state for each page, and its platform's keys.
//
// Pages have indices: 0 is the first page of the first section, and the sections follow each other.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "host/mutex.hpp"
#include "silicon/memory/page_state.hpp"
#include "silicon/sgx/epc/epc_memory_impl.hpp"
#include "silicon/sgx/epc/epcm.hpp"
#include "silicon/sgx/keys/platform_keys.hpp"
#include "silicon/state/names.hpp"

namespace cloister::silicon {

/// Which leaves the package has while its root moves (vmx/root_mover.hpp).
enum class Latch : u8 {
  open,       ///< all
  importing,  ///< guests: none; root mode: those that load pages, and EREMOVE
  closed,     ///< guests: none; root mode: EREMOVE
};

/// What is asked for, as far as it is implemented on this host.
SgxFeatures implemented_here(const SgxFeatures& asked);

class PackageImpl {
 public:
  using Config = vmx::Package::Config;

  explicit PackageImpl(Config config);

  const Config& config() const { return config_; }
  /// SGX as it is offered.
  const SgxFeatures& features() const { return config_.features.sgx; }
  /// CPUID 7 ECX: the hash of the launch key can be read, and written if firmware allows it.
  bool launch_control() const { return config_.features.launch_control(); }
  /// 0: the processor has no SGX.
  u64 epc_pages() const { return epc_pages_; }

  /// Index of a frame in the EPC; nullopt if it is not EPC of this package.
  std::optional<u32> index_of(Mfn frame) const;
  EpcmEntry& epcm(u32 index) { return epcm_[index]; }
  u8* page(u32 index) { return pages_ + u64{index} * arch::page_size; }
  PageState& state(u32 index) { return reinterpret_cast<PageState*>(states_.get())[index]; }
  bool faulty(u32 index) const { return !faulty_.empty() && std::ranges::binary_search(faulty_, index); }
  EpcMemory& memory() { return *memory_; }
  EventCounts& counts() { return memory_->impl().header().counts; }
  /// Held for the moment in which EPCM entries are read or changed.
  Mutex& mutex() CLOISTER_RETURN_CAPABILITY(mutex_) { return mutex_; }
  PlatformKeys& keys() { return keys_; }
  /// Held by every leaf of ENCLS that a processor executes: shared, or exclusive by one that no other may run beside.
  /// What root mode runs beside it is kept apart by the mutex.
  PageLock& leaves() { return leaves_; }
  /// Held shared by every leaf of ENCLS and ENCLV that root mode runs.
  PageLock& root_leaves() { return root_leaves_; }

  /// Changed by whoever holds both of these exclusively.
  Latch latch() const { return latch_.load(std::memory_order_relaxed); }
  void set_latch(Latch latch) { latch_.store(latch, std::memory_order_relaxed); }

 private:
  /// Where a section's pages are.
  struct Place {
    Mfn first;
    u64 pages = 0;
    u32 index = 0;
  };

  void take_memory();

  Config config_;  ///< the sections are those that have memory
  u64 epc_pages_ = 0;
  std::vector<Place> by_frame_;  ///< sorted by `first`
  std::vector<u32> faulty_;      ///< indices, sorted
  EpcMemory::Pointer memory_;
  u8* pages_ = nullptr;        ///< in memory_
  EpcmEntry* epcm_ = nullptr;  ///< in memory_
  HostMapping states_;         ///< PageState of each page: zero bytes are a new one's
  Mutex mutex_;
  PlatformKeys keys_;
  PageLock leaves_, root_leaves_;
  std::atomic<Latch> latch_{Latch::open};
};

}  // namespace cloister::silicon
