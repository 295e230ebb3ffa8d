// The leaves of ENCLS that the hypervisor runs for a guest whose EPC is paged by trapping (epc/exiting_leaves.hpp), but
// for ECREATE (exits/ecreate.hpp). Each looks at its operands in the order of the leaf's own checks, has the pages
// brought that it needs, and leaves all that the EPCM says to the leaf.
#pragma once

#include "hypervisor/exits/leaf_end.hpp"

namespace cloister::hypervisor::exits {

LeafEnd trapped(Processor& processor, EnclsOperands& operands, arch::EnclsLeaf leaf);

LeafEnd eadd(Processor& processor, EnclsOperands& operands);
LeafEnd eaug(Processor& processor, EnclsOperands& operands);
LeafEnd epa(Processor& processor, EnclsOperands& operands);
LeafEnd eremove(Processor& processor, EnclsOperands& operands);
LeafEnd emodt(Processor& processor, EnclsOperands& operands);
LeafEnd erdinfo(Processor& processor, EnclsOperands& operands);
LeafEnd ewb(Processor& processor, EnclsOperands& operands);
/// ELDB, ELDU, ELDBC and ELDUC.
LeafEnd eld(Processor& processor, EnclsOperands& operands, arch::EnclsLeaf leaf);

}  // namespace cloister::hypervisor::exits
