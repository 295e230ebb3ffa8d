// EADD, EAUG and EPA for a guest (SDM vol. 3D, 38.3).
#include "hypervisor/exits/trap/guest_leaf.hpp"
#include "hypervisor/exits/trap/leaves.hpp"

namespace cloister::hypervisor::exits {

LeafEnd eadd(Processor& processor, EnclsOperands& operands) {
  const u64 pageinfo_at = operands.at(arch::rbx), page_at = operands.at(arch::rcx);
  operands.aligned(pageinfo_at, sizeof(arch::Pageinfo));
  operands.aligned(page_at, arch::page_size);
  GuestLeaf leaf(arch::EnclsLeaf::eadd);
  leaf.page = operands.brought(page_at);

  const auto info = operands.read<arch::Pageinfo>(pageinfo_at);
  const u64 source = operands.linear(info.srcpge), secs_at = operands.linear(info.secs);
  const u64 secinfo_at = operands.linear(info.secinfo);
  operands.aligned(source, arch::page_size);
  operands.aligned(secs_at, arch::page_size);
  operands.aligned(secinfo_at, sizeof(arch::Secinfo));
  operands.require(arch::page_offset(info.linaddr) == 0);
  leaf.secs = operands.brought(secs_at);
  leaf.secinfo = operands.read<arch::Secinfo>(secinfo_at);
  if (operands.failed()) return end_of(operands);

  leaf.pageinfo.linaddr = info.linaddr;
  leaf.pageinfo.secinfo = std::as_writable_bytes(std::span(&leaf.secinfo, 1));
  leaf.operands.pageinfo = &leaf.pageinfo;
  leaf.copy_contents(operands, source);
  return run(processor, leaf);
}

LeafEnd eaug(Processor& processor, EnclsOperands& operands) {
  const u64 pageinfo_at = operands.at(arch::rbx), page_at = operands.at(arch::rcx);
  operands.aligned(pageinfo_at, sizeof(arch::Pageinfo));
  operands.aligned(page_at, arch::page_size);
  GuestLeaf leaf(arch::EnclsLeaf::eaug);
  leaf.page = operands.brought(page_at);

  const auto info = operands.read<arch::Pageinfo>(pageinfo_at);
  const u64 secs_at = operands.linear(info.secs), secinfo_at = operands.linear(info.secinfo);
  if (info.secinfo != 0) operands.aligned(secinfo_at, sizeof(arch::Secinfo));
  operands.aligned(secs_at, arch::page_size);
  operands.require(arch::page_offset(info.linaddr) == 0 && info.srcpge == 0);
  leaf.secs = operands.brought(secs_at);
  if (operands.failed()) return end_of(operands);

  leaf.pageinfo.linaddr = info.linaddr;
  leaf.operands.pageinfo = &leaf.pageinfo;
  if (info.secinfo != 0) {
    const auto bytes = std::as_writable_bytes(std::span(&leaf.secinfo, 1));
    leaf.unreachable = operands.copy_in(secinfo_at, bytes);
    leaf.pageinfo.secinfo = leaf.unreachable ? bytes.first(0) : bytes;
  }
  return run(processor, leaf);
}

LeafEnd epa(Processor& processor, EnclsOperands& operands) {
  const u64 page_at = operands.at(arch::rcx);
  operands.require(operands.value(arch::rbx) == static_cast<u64>(arch::PageType::va));
  operands.aligned(page_at, arch::page_size);
  GuestLeaf leaf(arch::EnclsLeaf::epa);
  leaf.page = operands.brought(page_at);
  if (operands.failed()) return end_of(operands);
  return run(processor, leaf);
}

}  // namespace cloister::hypervisor::exits
