// The software TLB: direct-mapped, one entry a linear page, checked inline by every access.
//
// A tag is the page's linear address with the translation context in its low 12 bits: bits 1:0 the access mode, bits
// 11:2 an address-space number. A number stands for a PCID between two flushes of it, or for one stay in an enclave; a
// flush takes a fresh number, so it costs nothing until the numbers run out. tag_write is valid only if the page's
// dirty bits are set, the page is marked dirty and no block is cached from it. See memory.hpp for the store door.
#pragma once

#include <array>

#include "arch/types.hpp"

namespace cloister::silicon {

/// What the access is checked as (SDM vol. 3A, 4.6.1).
enum class AccessMode : u8 {
  supervisor = 0,      ///< explicit supervisor access, SMAP in force
  user = 1,            ///< CPL 3
  supervisor_any = 2,  ///< supervisor access to user pages allowed (SMAP off, or RFLAGS.AC)
};

enum class Access : u8 { read, write, fetch };

struct alignas(32) TlbEntry {
  u64 tag_read, tag_write;
  u64 addend;  ///< host address of a byte = addend + linear address
};

inline constexpr u64 tlb_invalid = ~u64{0};
inline constexpr unsigned tlb_entries = 2048;

struct Tlb {
  std::array<TlbEntry, tlb_entries> entry;

  Tlb() { flush(); }
  void flush() {
    for (TlbEntry& e : entry) e = {tlb_invalid, tlb_invalid, 0};
  }
  TlbEntry& at(u64 linear) { return entry[(linear >> arch::page_shift) % tlb_entries]; }
};

}  // namespace cloister::silicon
