// The leaves that root mode runs, without a guest's operands (vmx::Package).
#pragma once

#include "silicon/sgx/epc/package_impl.hpp"
#include "vmx/leaf_operands.hpp"

namespace cloister::silicon {

/// Whatever of ENCLS or ENCLV a hypervisor runs on EPC.
EnclsResult root_encls(PackageImpl& package, arch::EnclsLeaf leaf, const vmx::LeafOperands& operands);
EnclsResult root_enclv(PackageImpl& package, arch::EnclvLeaf leaf, const vmx::LeafOperands& operands);
EnclsResult root_ecreate(PackageImpl& package, Mfn frame, const arch::Secinfo& secinfo, const arch::Secs& secs,
                         Gpa context);

}  // namespace cloister::silicon
