// CPUID says what the package offers; what the implementation can do at all it says itself.
#include "hypervisor/epc/pager/paging_mode.hpp"

namespace cloister::hypervisor {

bool has_oss(const vmx::Package& package) {
  return package.capabilities().epc_virtualization && vmx::lists_oss(package.cpuid(arch::leaf::sgx, 0).eax);
}

PagingMode paging_mode(EpcPaging asked, bool oss) {
  return asked != EpcPaging::trap && oss ? PagingMode::oss : PagingMode::trap;
}

}  // namespace cloister::hypervisor
