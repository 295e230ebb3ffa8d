// ENCLS and ENCLV in root mode: the same leaves as a guest's, on operands of the hypervisor's (root_operands.hpp).
//
// They do not take PackageImpl::leaves(), so that no guest is in their way with EUPDATESVN, nor they in its: a leaf
// that uses a key of the package does so while it holds a valid page, with which EUPDATESVN changes nothing.
#include "silicon/sgx/leaves/root.hpp"

#include <algorithm>

#include "silicon/sgx/leaves/leaf_table.hpp"
#include "silicon/sgx/root_operands.hpp"

namespace cloister::silicon {

namespace {

using arch::EnclsLeaf;
namespace v = arch::vector;

/// What a hypervisor runs to page EPC, and for a guest whose leaves exit: those that ask for no processor.
constexpr EnclsLeaf encls_in_root[] = {EnclsLeaf::eadd,   EnclsLeaf::eremove, EnclsLeaf::eldb,    EnclsLeaf::eldu,
                                       EnclsLeaf::eblock, EnclsLeaf::epa,     EnclsLeaf::ewb,     EnclsLeaf::etrack,
                                       EnclsLeaf::eaug,   EnclsLeaf::emodt,   EnclsLeaf::erdinfo, EnclsLeaf::etrackc,
                                       EnclsLeaf::eldbc,  EnclsLeaf::elduc};

/// Those of ENCLS that a package has whose root has come, and not been committed.
constexpr EnclsLeaf while_importing[] = {EnclsLeaf::eremove, EnclsLeaf::eldb, EnclsLeaf::eldu, EnclsLeaf::eldbc,
                                         EnclsLeaf::elduc};

/// `leaf` of ENCLS; none: one of ENCLV.
bool has(Latch latch, std::optional<EnclsLeaf> leaf) {
  switch (latch) {
    case Latch::open: return true;
    case Latch::importing: return leaf && std::ranges::find(while_importing, *leaf) != std::end(while_importing);
    case Latch::closed: return leaf == EnclsLeaf::eremove;
  }
  return false;
}

EnclsResult run(PackageImpl& package, const LeafRow* row, std::optional<EnclsLeaf> leaf,
                const vmx::LeafOperands& given) {
  if (row == nullptr) return {.fault = v::gp};
  const Held beside(package.root_leaves(), LockMode::shared);
  if (!beside || fails("LATCH.root", !has(package.latch(), leaf))) return {.fault = v::gp};
  RootOperands operands(package, given);
  LeafContext ctx(operands, package, nullptr);
  const LeafResult result = row->leaf(ctx);
  if (!result) {
    const Fault& fault = result.error().fault;
    EnclsResult faulted{.fault = fault.vector};
    if (fault.vector == v::pf) faulted.page = RootOperands::frame_at(fault.address);
    return faulted;
  }
  operands.give_back();
  const Code* const code = std::get_if<Code>(&*result);
  return {.fault = std::nullopt, .rax = code != nullptr ? static_cast<u64>(code->error) : 0};
}

}  // namespace

EnclsResult root_encls(PackageImpl& package, EnclsLeaf leaf, const vmx::LeafOperands& operands) {
  if (package.epc_pages() == 0) return {.fault = v::ud};
  if (std::ranges::find(encls_in_root, leaf) == std::end(encls_in_root)) return {.fault = v::gp};
  return run(package, find_leaf(encls_leaves, package.features(), static_cast<u32>(leaf)), leaf, operands);
}

EnclsResult root_enclv(PackageImpl& package, arch::EnclvLeaf leaf, const vmx::LeafOperands& operands) {
  if (package.epc_pages() == 0 || !package.features().enclv) return {.fault = v::ud};
  return run(package, find_leaf(enclv_leaves, package.features(), static_cast<u32>(leaf)), std::nullopt, operands);
}

}  // namespace cloister::silicon
