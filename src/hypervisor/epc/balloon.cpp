// EPA faults on a page that is in use, and what it has made goes by EREMOVE.
#include "hypervisor/epc/balloon.hpp"

namespace cloister::hypervisor {

std::optional<BalloonError> make_free(vmx::Package& package, RootLeaves& leaves, arch::Mfn frame) {
  const RootLeaves::Running leaf(leaves);
  if (package.encls(arch::EnclsLeaf::epa, {.page = frame}).fault) return BalloonError::in_use;
  const vmx::EnclsResult removed = package.eremove(frame);
  if (removed.fault || removed.rax != 0) return BalloonError::stuck;
  return std::nullopt;
}

}  // namespace cloister::hypervisor
