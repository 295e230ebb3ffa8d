// ENCLS[ECREATE] on behalf of a guest: one that may not have enclaves with the provisioning key, or whose EPC is paged
// by trapping.
#pragma once

#include "hypervisor/exits/leaf_end.hpp"

namespace cloister::hypervisor::exits {

/// The SECS is copied out of the guest, the copy is judged, and ECREATE runs on the copy: another processor of the
/// guest cannot change what was looked at. In a domain without sgx_provision ATTRIBUTES.PROVISIONKEY is #GP(0), as a
/// bit is that CPUID does not list; otherwise the guest finds what it would without the exit.
LeafEnd ecreate(Processor& processor, EnclsOperands& operands);

}  // namespace cloister::hypervisor::exits
