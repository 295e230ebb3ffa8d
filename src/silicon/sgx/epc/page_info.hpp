// An EPCM entry as software sees it in SECINFO's flags (SDM vol. 3D, tables 35-17 and 35-20), both ways.
#pragma once

#include "silicon/sgx/epc/epcm.hpp"

namespace cloister::silicon {

/// Pages that belong to an enclave: all but its SECS and version arrays.
constexpr bool has_owner(arch::PageType type) {
  switch (type) {
    case arch::PageType::reg:
    case arch::PageType::tcs:
    case arch::PageType::trim:
    case arch::PageType::ss_first:
    case arch::PageType::ss_rest: return true;
    case arch::PageType::secs:
    case arch::PageType::va: break;
  }
  return false;
}

inline u64 rights_of(const EpcmEntry& page) {
  namespace f = arch::secinfo_flags;
  return (page.read ? f::r : 0) | (page.write ? f::w : 0) | (page.execute ? f::x : 0);
}

inline void set_rights(EpcmEntry& page, u64 flags) {
  namespace f = arch::secinfo_flags;
  page.read = (flags & f::r) != 0;
  page.write = (flags & f::w) != 0;
  page.execute = (flags & f::x) != 0;
}

inline u64 secinfo_flags_of(const EpcmEntry& page) {
  namespace f = arch::secinfo_flags;
  return rights_of(page) | (page.pending ? f::pending : 0) | (page.modified ? f::modified : 0) |
         (page.permission_restricted ? f::pr : 0) | (u64{static_cast<u8>(page.type)} << f::page_type_shift);
}

/// Fills in a free entry; the page becomes valid. `secs` is its owner, if its type has one. The caller holds the page's
/// lock exclusively and the package's mutex.
inline void claim_page(EpcmEntry& page, u64 flags, u64 enclave_address, u32 secs = 0) {
  namespace f = arch::secinfo_flags;
  page.enclave_address = enclave_address;
  page.secs = secs;
  page.epoch = 0;
  page.children = page.threads_now = page.threads_before = 0;
  page.type = static_cast<arch::PageType>((flags & f::page_type) >> f::page_type_shift);
  set_rights(page, flags);
  page.blocked = false;
  page.pending = (flags & f::pending) != 0;
  page.modified = (flags & f::modified) != 0;
  page.permission_restricted = (flags & f::pr) != 0;
  page.valid = true;
}

}  // namespace cloister::silicon
