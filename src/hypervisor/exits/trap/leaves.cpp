#include "hypervisor/exits/trap/leaves.hpp"

namespace cloister::hypervisor::exits {

LeafEnd trapped(Processor& processor, EnclsOperands& operands, arch::EnclsLeaf leaf) {
  switch (leaf) {
    case arch::EnclsLeaf::eadd: return eadd(processor, operands);
    case arch::EnclsLeaf::eaug: return eaug(processor, operands);
    case arch::EnclsLeaf::epa: return epa(processor, operands);
    case arch::EnclsLeaf::eremove: return eremove(processor, operands);
    case arch::EnclsLeaf::emodt: return emodt(processor, operands);
    case arch::EnclsLeaf::erdinfo: return erdinfo(processor, operands);
    case arch::EnclsLeaf::ewb: return ewb(processor, operands);
    default: return eld(processor, operands, leaf);
  }
}

}  // namespace cloister::hypervisor::exits
