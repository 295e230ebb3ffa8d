// Which leaves of ENCLS exit, as bits by their numbers (SDM vol. 3C, 25.6.16), and why.
#pragma once

#include "hypervisor/machine.hpp"

namespace cloister::hypervisor {

/// Those that the domain's CPUID does not list: #GP(0) in the guest. Without EPC all of them, and #UD.
u64 hidden_leaves_of(const DomainSpec& spec);
/// Those that the hypervisor runs for the guest since its EPC is paged by trapping: all that make a page, take it away
/// or take it for themselves (SDM vol. 3D, 38.3, the leaves' tables of concurrency restrictions). So what shares a page
/// may run in the guest, and meets no leaf of the hypervisor's that has one alone. And ERDINFO, which tells what the
/// hypervisor knows better.
u64 trapped_leaves(const Machine& machine);
/// All that exit: with ECREATE, where somebody must see who asks for the provisioning key.
u64 exiting_leaves(const Machine& machine);

/// The guest's leaves are to exit where they meet one of the hypervisor's.
bool meets_root_leaves(const Machine& machine);

}  // namespace cloister::hypervisor
