// The two ways in which a domain's EPC can be paged. What they have in common is the pager's (pager.hpp); they differ
// in how it learns whose a page is, and in who keeps a SECS from going before children that are out.
#pragma once

#include "hypervisor/specification.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

enum class PagingMode : u8 {
  /// On silicon of any generation. Those leaves of the guest's exit that make a page, take one away or take it for
  /// themselves; the hypervisor runs them, and notes which pages are whose children (pager/trap.cpp).
  trap,
  /// With the EPC virtualization extensions (SDM vol. 3D, 40): ERDINFO tells, virtual children are counted in the SECS,
  /// and no leaf exits.
  oss,
};

/// The package has what `oss` takes: the leaves of OSS, ENCLV and the extensions' control.
bool has_oss(const vmx::Package& package);
/// How a domain is paged that asks for it so, on a package that has OSS or not. Precondition: it asks, and not for what
/// there is not.
PagingMode paging_mode(EpcPaging asked, bool oss);

}  // namespace cloister::hypervisor
