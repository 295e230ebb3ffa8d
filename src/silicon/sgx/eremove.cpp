// ENCLS[EREMOVE] (SDM vol. 3D, 38.3): takes a page out of its enclave.
#include "silicon/sgx/package_impl.hpp"

namespace cloister::silicon {

using arch::PageType;
using arch::SgxError;

EnclsResult eremove(Package::Impl& package, u32 index) {
  EpcmEntry& page = package.epcm(index);
  const auto code = [](SgxError e) { return EnclsResult{.fault = std::nullopt, .rax = static_cast<u64>(e)}; };
  if (!page.valid) return code(SgxError::success);
  switch (page.type) {
    case PageType::va: page.valid = false; return code(SgxError::success);
    case PageType::secs:
      if (page.children != 0) return code(SgxError::child_present);
      page.valid = false;
      return code(SgxError::success);
    default: break;
  }
  EpcmEntry& secs = package.epcm(page.secs);
  // A trimmed page that was accepted needs no check of the enclave's threads.
  const bool trimmed = page.type == PageType::trim && !page.modified;
  if (!trimmed && secs.active_threads != 0) return code(SgxError::enclave_act);
  page.valid = false;
  --secs.children;
  return code(SgxError::success);
}

}  // namespace cloister::silicon
