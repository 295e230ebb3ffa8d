// The platform's secrets and counters: what EGETKEY, EREPORT, EINIT and EWB derive from (SDM vol. 3D, table 38-64, and
// 37).
//
// All come from one root secret, but for the paging key, which may have one of its own. Nothing here is ever printed.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <span>
#include <utility>

#include "arch/sgx.hpp"
#include "silicon/sgx/keys/machine_counters.hpp"

namespace cloister::silicon {

using RootSecret = arch::Bytes32;

/// The inputs of derivekey, in the manual's order (SDM vol. 3D, EGETKEY, KEY DEPENDENCIES); unused ones are zero.
struct KeyDependencies {
  u16 keyname = 0;
  u16 keypolicy = 0;
  u16 isvprodid = 0;
  u16 isvsvn = 0;
  u16 configsvn = 0;
  u8 cet_attributes = 0, cet_attributes_mask = 0;
  u32 miscselect = 0, miscmask = 0;
  arch::Bytes16 cpusvn{};
  arch::Bytes16 isvextprodid{}, isvfamilyid{};
  arch::Bytes16 ownerepoch{}, seal_fuses{};
  arch::Attributes attributes{}, attributesmask{};
  arch::Bytes32 mrenclave{}, mrsigner{}, keyid{};
  arch::Bytes64 configid{};
  std::array<u8, 352> padding{};
};

class PlatformKeys {
 public:
  /// Security version numbers of the microcode that runs, one a component: the first is its own.
  static constexpr arch::Bytes16 microcode{1};

  /// `boot` distinguishes one power-on from another: the paging key and the report KEYID follow from it. `paging`: what
  /// the paging key comes from. `counters` bring their own boot number; null: private ones.
  PlatformKeys(const RootSecret& root, const RootSecret& paging, u64 boot, MachineCounters::Pointer counters);
  PlatformKeys(const RootSecret& root, const RootSecret& paging, u64 boot);
  PlatformKeys(const RootSecret& root, u64 boot) : PlatformKeys(root, root, boot) {}

  /// A 128-bit key: AES-CMAC, under a key that only this platform has, of the dependencies in the order of their
  /// declaration, little-endian and without gaps.
  arch::Bytes16 derive(const KeyDependencies& dependencies) const;

  /// Firmware had loaded microcode of this CPUSVN.
  void power_on(const arch::Bytes16& cpusvn) { cpusvn_ = cpusvn; }

  /// CPUSVN becomes that of the microcode which runs, and pages are evicted with another key. Whether CPUSVN changed.
  /// Nobody uses a key meanwhile.
  bool update(const arch::Bytes16& paging_key) {
    paging_key_ = paging_key;
    return std::exchange(cpusvn_, microcode) != microcode;
  }

  const arch::Bytes16& cpusvn() const { return cpusvn_; }
  /// No component of it is beyond the current one.
  bool supports_cpusvn(const arch::Bytes16& wanted) const {
    return std::ranges::equal(wanted, cpusvn_, std::less_equal{});
  }
  const arch::Bytes16& ownerepoch() const { return ownerepoch_; }
  const arch::Bytes16& seal_fuses() const { return seal_fuses_; }
  const arch::Bytes32& report_keyid() const { return report_keyid_; }
  const arch::Bytes16& paging_key() const { return paging_key_; }

  /// What evicts pages: all that must move with them. Nobody uses a key meanwhile.
  struct Paging {
    arch::Bytes16 key{};
    arch::Bytes16 cpusvn{};
    Counts counts{};
  };
  Paging paging() const {
    return {.key = paging_key_,
            .cpusvn = cpusvn_,
            .counts = counters_ != nullptr ? counters_->counts() : Counts{.eid = eid_, .version = version_}};
  }
  /// All keys become those of another platform, and of another power-on; counters go on. Nobody uses a key meanwhile.
  void start_over(const RootSecret& root, const RootSecret& paging, u64 boot);
  /// Counts go on from the higher of what they are and what is given.
  void adopt(const Paging& paging);

  u64 next_eid() { return counters_ != nullptr ? counters_->next_eid() : eid_.fetch_add(1); }
  /// Never 0, never the same twice.
  u64 next_version() { return counters_ != nullptr ? counters_->next_version() : version_.fetch_add(1); }

 private:
  arch::Bytes16 cpusvn_ = microcode;
  arch::Bytes16 master_{}, ownerepoch_{}, seal_fuses_{}, paging_key_{};
  arch::Bytes32 report_keyid_{};
  MachineCounters::Pointer counters_;
  std::atomic<u64> eid_{1}, version_{1};  ///< without counters_
};

/// The PADDING that every signature of an initialised enclave has (PKCS #1 v1.5, SHA-256), as it lies in the SECS.
const std::array<u8, 352>& signature_padding();

}  // namespace cloister::silicon
