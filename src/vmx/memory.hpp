// A domain's memory: one second-level translation (EPT, SDM vol. 3C, ch. 29) with the RAM behind it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"

namespace cloister::vmx {

using arch::Gpa;
using arch::Mfn;

/// `partial`: the range to unmap cuts what one call mapped. `not_epc`: no call has mapped or reserved EPC there.
enum class MapError : u8 { misaligned, overlap, no_memory, partial, not_epc };

/// RAM is the domain's own; EPC frames belong to a Package. Any thread, while the domain's Vcpus run, too; but not from
/// within a run() of one of them: to map and unmap, but for single pages, waits until those that run have come to the
/// end of their block.
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
  /// Reserves a range for `pages` single pages of EPC, of which none is mapped.
  virtual tl::expected<void, MapError> reserve_epc(Gpa base, u64 pages) = 0;
  /// Maps one page of a range that is reserved, or was mapped and has lost the page. At once: processors run on.
  virtual tl::expected<void, MapError> map_epc(Gpa page, Mfn frame) = 0;
  /// Unmaps one page of such a range. The frame that was mapped; nullopt: none was. At once, too: a processor that
  /// runs may go on with what it knows, and knows nothing of the page any more from its next run() on (INVEPT). What
  /// finds no page is an EPT violation: an access, in an enclave after the exit from it, an operand of a leaf, a page
  /// walk, an event's delivery.
  virtual std::optional<Mfn> unmap_epc(Gpa page) = 0;
  /// Removes whatever was mapped in [base, base + bytes): all of what each call mapped, or nothing is changed. When it
  /// returns no Vcpu knows a translation or code of it any more, and RAM has gone back to the host.
  virtual tl::expected<void, MapError> unmap(Gpa base, u64 bytes) = 0;

  /// EPT's accessed and dirty flags (EPTP bit 6; SDM vol. 3C, 29.3.5) are kept, for RAM and EPC; at first they are not.
  /// With them an access to a page table is a write to its page. Leaves in root mode set none, nor does what a
  /// processor itself writes to a TCS and at an exit from an enclave.
  virtual void set_accessed_dirty(bool on) = 0;
  /// Clears the accessed flags of `pages` pages; one answer for each, false where nothing is mapped. Translations that
  /// a processor knows stay, and set no flag again until it has forgotten them.
  virtual std::vector<bool> take_accessed(Gpa base, u64 pages) = 0;
  /// The same of the dirty flags, and of stores through the door below. Whatever is stored after this has returned is
  /// in the next answer, and what was stored before is in memory: waits until processors that run have ended their
  /// block, so it is not called from within a run().
  virtual std::vector<bool> take_dirty(Gpa base, u64 pages) = 0;

  /// The devices' door. False, with nothing written, if part of the range is not RAM (an EPC page is not RAM).
  virtual bool read(Gpa from, std::span<std::byte> to) const = 0;
  virtual bool write(Gpa to, std::span<const std::byte> from) = 0;
  /// The hypervisor's LOCK CMPXCHG of 4 or 8 bytes, aligned: stores `desired` if `expected` is there. What was there;
  /// nullopt: not RAM, not aligned, or of another size.
  virtual std::optional<u64> compare_exchange(Gpa at, unsigned bytes, u64 expected, u64 desired) = 0;
  /// Which of these pages of RAM may have been written since they were mapped, whatever was taken of their flags
  /// meanwhile; all others are zeros, and asking costs the host no memory for them. What processors that run store
  /// meanwhile may be missing: it is in the next answer of take_dirty(). What a hypervisor on hardware would know by
  /// having mapped no page that nobody had touched.
  virtual std::vector<bool> written(Gpa base, u64 pages) const = 0;
};

}  // namespace cloister::vmx
