// A package's EPC, with an EPCM entry and a page state for each page, and its platform's keys.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "silicon/mmu/memory.hpp"
#include "silicon/sgx/epcm.hpp"
#include "silicon/sgx/platform_keys.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

class Package::Impl {
 public:
  explicit Impl(Config config);

  const Config& config() const { return config_; }
  /// SGX as it is offered.
  const SgxFeatures& features() const { return config_.features.sgx; }
  /// CPUID 7 ECX: the hash of the launch key can be read, and written if firmware allows it.
  bool launch_control() const { return config_.features.launch_control(); }
  /// 0: the processor has no SGX.
  u64 epc_pages() const { return config_.epc ? config_.epc->pages : 0; }

  /// Index of a frame in the EPC; nullopt if it is not EPC of this package.
  std::optional<u32> index_of(Mfn frame) const;
  EpcmEntry& epcm(u32 index) { return epcm_[index]; }
  u8* page(u32 index) { return memory_.get() + u64{index} * arch::page_size; }
  PageState& state(u32 index) { return states_[index]; }
  /// Held for the moment in which EPCM entries are read or changed.
  std::mutex& mutex() { return mutex_; }
  PlatformKeys& keys() { return keys_; }

 private:
  Config config_;
  HostMapping memory_;
  std::unique_ptr<EpcmEntry[]> epcm_;
  std::unique_ptr<PageState[]> states_;
  std::mutex mutex_;
  PlatformKeys keys_;
};

/// ENCLS[EREMOVE] on the page with this index (SDM vol. 3D, 38.3, EREMOVE), after its operand's checks; the caller
/// holds the page's lock and the package's mutex.
arch::SgxError eremove_page(Package::Impl& package, u32 index);

}  // namespace cloister::silicon
