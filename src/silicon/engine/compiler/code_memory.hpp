// Memory for code of the host, in slices that processors take and give back.
//
// All of it is one sealed memfd, mapped twice: what writes code and what runs it are different addresses, and no
// mapping is both writable and executable. Both are made before anything untrusted runs, for a filter of system calls
// then forbids new executable memory; processors come and go later. The host gives a page when it is first written.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "host/mutex.hpp"
#include "silicon/memory/host_mapping.hpp"

namespace cloister::silicon {

class CodeMemory {
 public:
  /// Of a processor's code; beyond, it starts anew.
  static constexpr u64 slice_bytes = u64{64} << 20;
  /// A domain has up to 16 processors; processors beyond find no slice, and interpret.
  static constexpr u64 slices = 32;

  /// The host allows it. Keeps nothing: who only asks has no executable memory.
  static bool possible();
  /// The process's, made at the first call.
  static CodeMemory& get();

  /// False: the host has no memory for it, or forbids that it is executed.
  bool available() const { return executable_ != nullptr; }

  /// Where a slice is written and where the same bytes are run.
  struct Slice {
    CodeMemory* owner = nullptr;
    u8* writable = nullptr;
    const u8* executable = nullptr;

    Slice() = default;
    Slice(CodeMemory& from, u64 number);
    Slice(Slice&& other) noexcept { swap(other); }
    Slice& operator=(Slice&& other) noexcept {
      swap(other);
      return *this;
    }
    ~Slice();
    explicit operator bool() const { return owner != nullptr; }

   private:
    void swap(Slice& other);
  };
  /// One that no other has; empty if there is none.
  Slice take();

 private:
  explicit CodeMemory(u64 number);
  void give_back(u64 number);

  HostMapping writable_, executable_;
  Mutex mutex_;
  std::vector<u64> free_ CLOISTER_GUARDED_BY(mutex_);
};

/// To be called between writing code and running it on the same thread: the processor may have fetched from the other
/// address already (SDM vol. 3A, 9.1.3).
void synchronize_code();

}  // namespace cloister::silicon
