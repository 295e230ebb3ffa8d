// How large an XSAVE area is that has these state components (SDM vol. 1, 13.4), as leaf 0DH tells of each.
#pragma once

#include "policy/policy.hpp"

namespace cloister::policy {

/// In bytes. enabled: by their bits, as XCR0 and IA32_XSS have them; x87 and SSE are there always.
u32 standard_xsave_size(const CpuidTable& table, u64 enabled);
/// Components in order, 64-byte aligned where ECX[1] says so (13.4.3).
u32 compacted_xsave_size(const CpuidTable& table, u64 enabled);

}  // namespace cloister::policy
