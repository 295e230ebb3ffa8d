// EPC memory as it is laid out: pages in one file, a header and the EPCM in another.
#pragma once

#include <cstddef>

#include "silicon/memory/sealed_memory.hpp"
#include "silicon/sgx/epc/epc_memory.hpp"
#include "silicon/sgx/epc/epcm.hpp"
#include "silicon/sgx/epc/event_counts.hpp"

namespace cloister::silicon {

/// First page of an EPCM file. The entries follow it.
struct EpcmHeader {
  static constexpr u64 expected_magic = 0x6d63'7065'7473'6c63;  // "clstepcm"
  /// Of this struct and of EpcmEntry: another number is another layout.
  static constexpr u32 expected_layout = 1;

  u64 magic;
  u32 layout;
  u32 entry_bytes;
  u64 pages;
  EventCounts counts;
};
inline constexpr u64 epcm_entries_at = arch::page_size;
static_assert(sizeof(EpcmHeader) <= epcm_entries_at);

/// An EPCM file of this layout, for so many pages.
bool epcm_header_fits(int descriptor, u64 pages);

class EpcMemory::Impl {
 public:
  /// Pages in private memory of this process.
  static tl::expected<EpcMemory::Pointer, MemoryError> create_private(u64 pages);
  static constexpr u64 most_pages = u64{1} << 32;
  static u64 epcm_bytes(u64 pages) { return epcm_entries_at + pages * sizeof(EpcmEntry); }
  /// Descriptors that are already checked.
  static tl::expected<EpcMemory::Pointer, MemoryError> map(Fd pages_file, Fd epcm_file, u64 pages);

  u8* page(u64 index) const { return page_bytes_.get() + index * arch::page_size; }
  EpcmEntry* entries() const { return reinterpret_cast<EpcmEntry*>(epcm_.get() + epcm_entries_at); }
  EpcmHeader& header() const { return *reinterpret_cast<EpcmHeader*>(epcm_.get()); }

  /// A reset of the processors of a Package that ran here before: leaf locks are free and nobody is inside an enclave.
  /// How many children a SECS has is counted anew, for a leaf may have been cut short between two stores. An entry that
  /// no leaf can have written is free. Touches no entry that was never used.
  void reset_processors();

  /// f(EpcmEntry&) for each entry that was ever used, and some beside it, in order. Touches no other.
  template <class F>
  void for_each_used(F&& f) {
    for_each_data(epcm_file.get(), epcm_entries_at, epcm_bytes(pages), [&](u64 first, u64 end) {
      static_assert(arch::page_size % sizeof(EpcmEntry) == 0);
      EpcmEntry* const entry = entries() + (first - epcm_entries_at) / sizeof(EpcmEntry);
      for (u64 i = 0; i < (end - first) / sizeof(EpcmEntry); ++i) f(entry[i]);
    });
  }

  u64 pages = 0;
  Fd pages_file, epcm_file;

 private:
  HostMapping page_bytes_, epcm_;
};

}  // namespace cloister::silicon
