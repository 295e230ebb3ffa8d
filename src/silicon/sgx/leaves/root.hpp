// The leaves that root mode runs, without a guest's operands (vmx::Package).
#pragma once

#include "silicon/sgx/epc/package_impl.hpp"

namespace cloister::silicon {

EnclsResult root_eremove(PackageImpl& package, Mfn frame);
EnclsResult root_ecreate(PackageImpl& package, Mfn frame, const arch::Secinfo& secinfo, const arch::Secs& secs,
                         Gpa context);

/// ENCLS[EREMOVE] on the page with this index (SDM vol. 3D, 38.3, EREMOVE), after its operand's checks; the caller
/// holds the page's lock.
arch::SgxError eremove_page(PackageImpl& package, u32 index) CLOISTER_REQUIRES(package.mutex());

}  // namespace cloister::silicon
