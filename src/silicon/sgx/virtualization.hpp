// EPC virtualization extensions: what a hypervisor that evicts pages behind its guest's back gets to know, and what
// its guest sees of the pages that are away (SDM vol. 3D, 38.3: SGX_CONFLICT, VIRTCHILDCNT).
#pragma once

#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

/// The enclave has pages in EPC, or its hypervisor keeps some elsewhere: the checks .children and
/// .virtual_children of `page`.
bool child_present(LeafContext& ctx, u32 secs_index, const char* page) CLOISTER_REQUIRES(ctx.package.mutex());

}  // namespace cloister::silicon
