// ECREATE for a guest, in the order of the leaf's own checks (SDM vol. 3D, 38.3, ECREATE: Operation): the hypervisor
// looks at the operands' addresses, and the leaf, run in root mode, at everything else.
#include "hypervisor/exits/ecreate.hpp"

namespace cloister::hypervisor::exits {
namespace {

/// A page that can be copied whole.
struct alignas(arch::page_size) SecsCopy {
  arch::Secs secs{};
};
struct alignas(64) SecinfoCopy {
  arch::Secinfo secinfo{};
};

bool trapping(const Machine& machine) { return machine.pager != nullptr && machine.pager->mode() == PagingMode::trap; }

/// Nullopt: not now.
std::optional<vmx::EnclsResult> run(Processor& processor, const EpcOperand& page, const SecinfoCopy& info,
                                    const SecsCopy& copy) {
  Machine& machine = processor.machine;
  const auto leaf = [&](arch::Mfn frame) { return machine.package.ecreate(frame, info.secinfo, copy.secs, page.page); };
  if (!trapping(machine)) {
    const auto frame = machine.frame_of(page.page, processor);
    if (!frame) return vmx::EnclsResult{.fault = arch::vector::pf};
    const RootLeaves::Running running(machine.root_leaves);
    return leaf(*frame);
  }
  std::optional<vmx::EnclsResult> result;
  machine.as_guest(processor, [&] {
    if (const auto frame = machine.pager->frame_of(page.page))
      result = machine.pager->run([&] { return leaf(*frame); });
  });
  return result;
}

}  // namespace

LeafEnd ecreate(Processor& processor, EnclsOperands& operands) {
  const u64 pageinfo_at = operands.at(arch::rbx), page_at = operands.at(arch::rcx);
  operands.aligned(pageinfo_at, sizeof(arch::Pageinfo));
  operands.aligned(page_at, arch::page_size);
  const EpcOperand page = operands.epc(page_at);
  if (trapping(processor.machine)) operands.bring(page);

  const auto info = operands.read<arch::Pageinfo>(pageinfo_at);
  const u64 source = operands.linear(info.srcpge), secinfo_at = operands.linear(info.secinfo);
  operands.aligned(source, arch::page_size);
  operands.aligned(secinfo_at, sizeof(arch::Secinfo));
  operands.require(info.linaddr == 0 && info.secs == 0);
  const SecinfoCopy secinfo{operands.read<arch::Secinfo>(secinfo_at)};
  if (operands.failed()) return end_of(operands);

  // The leaf looks at the EPCM before it reads the SECS. A SECS of zeros creates nothing and shows what it found there.
  SecsCopy copy;
  std::optional<Fault> refused = operands.copy_in(source, std::as_writable_bytes(std::span(&copy.secs, 1)));
  if (!refused && !processor.machine.spec.sgx_provision &&
      (copy.secs.attributes.flags & arch::attributes::provisionkey) != 0)
    refused = general_protection;
  if (refused) copy.secs = {};
  const auto result = run(processor, page, secinfo, copy);
  if (!result) return Again{};
  if (!result->fault) return Unchanged{};
  if (*result->fault == arch::vector::pf) return epc_fault(page_at);
  return refused.value_or(general_protection);
}

}  // namespace cloister::hypervisor::exits
