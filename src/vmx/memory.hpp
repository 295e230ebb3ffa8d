// A domain's memory: one second-level translation (EPT, SDM vol. 3C, ch. 29) with the RAM behind it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <tl/expected.hpp>

#include "arch/types.hpp"

namespace cloister::vmx {

using arch::Gpa;
using arch::Mfn;

/// `partial`: the range to unmap cuts what one call mapped.
enum class MapError : u8 { misaligned, overlap, no_memory, partial };

/// RAM is the domain's own; EPC frames belong to a Package. Any thread, while the domain's Vcpus run, too; but not from
/// within a run() of one of them: map and unmap wait until those that run have come to the end of their block.
class GuestMemory {
 public:
  GuestMemory() = default;
  virtual ~GuestMemory() = default;
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  /// Maps fresh zeroed RAM, `bytes` a multiple of 4 KiB, at `base`.
  virtual tl::expected<void, MapError> map_ram(Gpa base, u64 bytes) = 0;
  /// Maps `pages` machine EPC frames from `first` on, readable, writable and executable. They may lie in several
  /// sections; a frame that no section has is the abort page, and an operand outside EPC.
  virtual tl::expected<void, MapError> map_epc(Gpa base, Mfn first, u64 pages) = 0;
  /// Removes whatever was mapped in [base, base + bytes): all of what each call mapped, or nothing is changed. When it
  /// returns no Vcpu knows a translation or code of it any more, and RAM has gone back to the host.
  virtual tl::expected<void, MapError> unmap(Gpa base, u64 bytes) = 0;

  /// The devices' door. False, with nothing written, if part of the range is not RAM (an EPC page is not RAM).
  virtual bool read(Gpa from, std::span<std::byte> to) const = 0;
  virtual bool write(Gpa to, std::span<const std::byte> from) = 0;
  /// The hypervisor's LOCK CMPXCHG of 4 or 8 bytes, aligned: stores `desired` if `expected` is there. What was there;
  /// nullopt: not RAM, not aligned, or of another size.
  virtual std::optional<u64> compare_exchange(Gpa at, unsigned bytes, u64 expected, u64 desired) = 0;
};

}  // namespace cloister::vmx
