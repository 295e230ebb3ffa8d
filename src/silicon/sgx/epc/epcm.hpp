// The EPCM: one entry for each page of EPC (SDM vol. 3D, 35.20). Its layout is ours; its fields are the manual's.
//
// Two kinds of exclusion. `lock` is the architecture's: a leaf acquires the pages it names in the mode of the manual's
// concurrency tables (SDM vol. 3D, tables 38-x "concurrency restrictions"), and a failure is a result that software
// sees. The package's mutex (PackageImpl::mutex) protects the fields themselves for the moment of a read or an
// update.
//
// Entries may lie in memory that outlives the process (shared_memory.hpp). A process can die between any two stores, so
// an entry is valid only while all its other fields are: VALID is stored last when a page is given, first when it is
// taken. Counts that are kept in another entry follow, and are counted anew by the next process.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "arch/sgx.hpp"
#include "arch/types.hpp"

namespace cloister::silicon {

/// A try-lock with shared and exclusive modes; nothing ever waits.
class PageLock {
 public:
  bool try_shared() {
    u8 now = state_.load(std::memory_order_relaxed);
    do {
      if (now >= exclusive - 1) return false;
    } while (!state_.compare_exchange_weak(now, static_cast<u8>(now + 1), std::memory_order_acquire));
    return true;
  }
  bool try_exclusive() {
    u8 free = 0;
    return state_.compare_exchange_strong(free, exclusive, std::memory_order_acquire);
  }
  void release_shared() { state_.fetch_sub(1, std::memory_order_release); }
  void release_exclusive() { state_.store(0, std::memory_order_release); }
  /// Whoever held it is no more.
  void reset() { state_.store(0, std::memory_order_relaxed); }

 private:
  static constexpr u8 exclusive = 255;
  std::atomic<u8> state_{0};
};

enum class LockMode : u8 { shared, exclusive };

/// A PageLock held; false if it could not be had.
class Held {
 public:
  Held() = default;
  Held(PageLock& lock, LockMode mode) : mode_(mode) {
    if (mode == LockMode::shared ? lock.try_shared() : lock.try_exclusive()) lock_ = &lock;
  }
  Held(Held&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)), mode_(other.mode_) {}
  Held& operator=(Held&& other) noexcept {
    release();
    lock_ = std::exchange(other.lock_, nullptr);
    mode_ = other.mode_;
    return *this;
  }
  ~Held() { release(); }
  explicit operator bool() const { return lock_ != nullptr; }

 private:
  void release() {
    if (lock_ == nullptr) return;
    if (mode_ == LockMode::shared) {
      lock_->release_shared();
    } else {
      lock_->release_exclusive();
    }
    lock_ = nullptr;
  }
  PageLock* lock_ = nullptr;
  LockMode mode_ = LockMode::shared;
};

/// EPCM.VALID. Stores of the program around one to it stay on their side.
class ValidBit {
 public:
  operator bool() const { return value_; }
  ValidBit& operator=(bool valid) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    *const_cast<volatile bool*>(&value_) = valid;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return *this;
  }

 private:
  bool value_ = false;
};

struct EpcmEntry {
  u64 enclave_address = 0;  ///< ENCLAVEADDRESS: the only linear page through which the enclave reaches this one
  u64 epoch = 0;            ///< PT_SECS: the current epoch; other pages: that of the owner at EBLOCK, EMODPR, EMODT
  u64 eid = 0;              ///< PT_SECS: its enclave's, for the diagnostics door
  u32 secs = 0;             ///< ENCLAVESECS: index of the owner's SECS in the package's EPC

  // PT_SECS only: children, and the threads inside by the epoch they entered in (see tracking.hpp).
  u32 children = 0;
  u32 threads_now = 0, threads_before = 0;

  arch::PageType type = arch::PageType::secs;
  ValidBit valid;
  bool read = false, write = false, execute = false;
  bool blocked = false, pending = false, modified = false, permission_restricted = false;

  PageLock lock;        ///< of the page, against any leaf
  PageLock sgx2_lock;   ///< EACCEPT, EACCEPTCOPY, EMODPE, EMODPR and EMODT among themselves
  PageLock build_lock;  ///< PT_SECS: EADD, EEXTEND and EINIT among themselves
  PageLock track_lock;  ///< PT_SECS: ETRACK and ETRACKC; PT_VA: EWB
  PageLock entry_lock;  ///< PT_TCS: EENTER and ERESUME among themselves

  std::array<u8, 10> spare{};
};

/// Layout in shared memory: a change of it is a new EpcmHeader::expected_layout. Zero bytes are a free entry.
inline constexpr std::size_t epcm_flags_at = offsetof(EpcmEntry, valid), epcm_flags = 8;
static_assert(sizeof(EpcmEntry) == 64 && offsetof(EpcmEntry, type) == 40 &&
              offsetof(EpcmEntry, lock) == epcm_flags_at + epcm_flags);
static_assert(std::is_standard_layout_v<EpcmEntry> && std::is_trivially_destructible_v<EpcmEntry>);
static_assert(sizeof(PageLock) == 1 && std::atomic<u8>::is_always_lock_free);

}  // namespace cloister::silicon
