// EREMOVE, EMODT and ERDINFO for a guest (SDM vol. 3D, 38.3).
#include "hypervisor/exits/trap/guest_leaf.hpp"
#include "hypervisor/exits/trap/leaves.hpp"

namespace cloister::hypervisor::exits {

LeafEnd eremove(Processor& processor, EnclsOperands& operands) {
  const u64 page_at = operands.at(arch::rcx);
  operands.aligned(page_at, arch::page_size);
  GuestLeaf leaf(arch::EnclsLeaf::eremove);
  leaf.page = operands.epc(page_at);
  // Kernels begin with that, for all of EPC: what is free without a frame stays so. A page that is out is loaded to be
  // removed: only ELD empties the slot of its version, and without that the bound of epc_min would not hold.
  if (!operands.failed() && processor.machine.pager->absent(leaf.page.page)) return Code{};
  operands.bring(leaf.page);
  if (operands.failed()) return end_of(operands);
  return run(processor, leaf);
}

LeafEnd emodt(Processor& processor, EnclsOperands& operands) {
  const u64 secinfo_at = operands.at(arch::rbx), page_at = operands.at(arch::rcx);
  operands.aligned(secinfo_at, sizeof(arch::Secinfo));
  operands.aligned(page_at, arch::page_size);
  GuestLeaf leaf(arch::EnclsLeaf::emodt);
  leaf.page = operands.brought(page_at);
  leaf.secinfo = operands.read<arch::Secinfo>(secinfo_at);
  if (operands.failed()) return end_of(operands);
  leaf.operands.secinfo = &leaf.secinfo;
  return run(processor, leaf);
}

LeafEnd erdinfo(Processor& processor, EnclsOperands& operands) {
  const u64 info_at = operands.at(arch::rbx), page_at = operands.at(arch::rcx);
  operands.aligned(info_at, sizeof(arch::Rdinfo));
  operands.aligned(page_at, arch::page_size);
  const auto page = operands.epc_or_not(page_at);
  if (!page && !operands.failed()) return Code{arch::SgxError::pg_nonepc};
  GuestLeaf leaf(arch::EnclsLeaf::erdinfo);
  leaf.page = page.value_or(EpcOperand{});
  operands.bring(leaf.page);
  if (operands.failed()) return end_of(operands);

  leaf.operands.rdinfo = &leaf.rdinfo;
  const LeafEnd end = run(processor, leaf);
  const Code* const code = std::get_if<Code>(&end);
  if (code == nullptr || code->error != arch::SgxError::success) return end;
  const auto to = operands.destination(info_at, sizeof leaf.rdinfo);
  if (!to) return to.error();
  operands.store(info_at, *to, std::as_bytes(std::span(&leaf.rdinfo, 1)));
  return end;
}

}  // namespace cloister::hypervisor::exits
