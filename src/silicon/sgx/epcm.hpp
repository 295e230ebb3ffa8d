// The EPCM: one entry for each page of EPC (SDM vol. 3D, 35.20). Its layout is ours; its fields are the manual's.
//
// Two kinds of exclusion. `lock` is the architecture's: a leaf acquires the pages it names in the mode of the manual's
// concurrency tables (SDM vol. 3D, tables 38-x "concurrency restrictions"), and a failure is a result that software
// sees. The package's mutex (Package::Impl::mutex) protects the fields themselves for the moment of a read or an
// update.
#pragma once

#include <atomic>
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

struct EpcmEntry {
  u64 enclave_address = 0;  ///< ENCLAVEADDRESS: the only linear page through which the enclave reaches this one
  u32 secs = 0;             ///< ENCLAVESECS: index of the owner's SECS in the package's EPC
  u64 epoch = 0;            ///< PT_SECS: the current epoch; other pages: that of the owner at EBLOCK, EMODPR, EMODT

  // PT_SECS only: children, and the threads inside by the epoch they entered in (see tracking.hpp).
  u32 children = 0;
  u32 threads_now = 0, threads_before = 0;

  arch::PageType type = arch::PageType::secs;
  bool valid = false;
  bool read = false, write = false, execute = false;
  bool blocked = false, pending = false, modified = false, permission_restricted = false;

  PageLock lock;        ///< of the page, against any leaf
  PageLock sgx2_lock;   ///< EACCEPT, EACCEPTCOPY, EMODPE, EMODPR and EMODT among themselves
  PageLock build_lock;  ///< PT_SECS: EADD, EEXTEND and EINIT among themselves
  PageLock track_lock;  ///< PT_SECS: ETRACK and ETRACKC; PT_VA: EWB
};

}  // namespace cloister::silicon
