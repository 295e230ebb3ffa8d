// EWB, ELDB, ELDU, ELDBC and ELDUC for a guest (SDM vol. 3D, 38.3).
#include "hypervisor/exits/trap/guest_leaf.hpp"
#include "hypervisor/exits/trap/leaves.hpp"

namespace cloister::hypervisor::exits {
namespace {

constexpr u64 linaddr_offset = offsetof(arch::Pageinfo, linaddr);

/// A page that is a child of a SECS; PCMD says what type a page is.
bool has_owner(const arch::Pcmd& pcmd) {
  switch (pcmd.secinfo.type()) {
    case arch::PageType::reg:
    case arch::PageType::tcs:
    case arch::PageType::trim:
    case arch::PageType::ss_first:
    case arch::PageType::ss_rest: return true;
    default: return false;
  }
}

bool wrote(const LeafEnd& end) {
  const Code* const code = std::get_if<Code>(&end);
  return code != nullptr && (code->error == arch::SgxError::success || code->error == arch::SgxError::va_slot_occupied);
}

}  // namespace

LeafEnd ewb(Processor& processor, EnclsOperands& operands) {
  const u64 pageinfo_at = operands.at(arch::rbx), page_at = operands.at(arch::rcx), version_at = operands.at(arch::rdx);
  operands.aligned(pageinfo_at, sizeof(arch::Pageinfo));
  operands.aligned(page_at, arch::page_size);
  GuestLeaf leaf(arch::EnclsLeaf::ewb);
  leaf.page = operands.brought(page_at);
  operands.aligned(version_at, sizeof(u64));
  leaf.version = operands.brought(version_at);
  operands.require(leaf.page.page != leaf.version->page);

  const auto info = operands.read<arch::Pageinfo>(pageinfo_at);
  operands.require(info.linaddr == 0 && info.secs == 0);
  const u64 pcmd_at = operands.linear(info.secinfo), source_at = operands.linear(info.srcpge);
  operands.aligned(pcmd_at, sizeof(arch::Pcmd));
  operands.aligned(source_at, arch::page_size);
  if (operands.failed()) return end_of(operands);

  // It cannot be undone, so what it writes to is looked at before; and it writes nothing if it cannot write all.
  const u64 linaddr_at = pageinfo_at + linaddr_offset;
  const auto source = operands.destination(source_at, arch::page_size);
  const auto pcmd = operands.destination(pcmd_at, sizeof(arch::Pcmd));
  const auto linaddr = operands.destination(linaddr_at, sizeof info.linaddr);
  for (const auto* const to : {&source, &pcmd, &linaddr}) {
    if (!*to && !leaf.unreachable) leaf.unreachable = to->error();
  }
  if (!leaf.unreachable) leaf.pageinfo.source = leaf.contents;
  leaf.pageinfo.secinfo = std::as_writable_bytes(std::span(&leaf.pcmd, 1));
  leaf.operands.pageinfo = &leaf.pageinfo;
  const LeafEnd end = run(processor, leaf);
  if (!wrote(end)) return end;
  operands.store(source_at, *source, leaf.contents);
  operands.store(pcmd_at, *pcmd, std::as_bytes(std::span(&leaf.pcmd, 1)));
  operands.store(linaddr_at, *linaddr, std::as_bytes(std::span(&leaf.pageinfo.linaddr, 1)));
  return end;
}

LeafEnd eld(Processor& processor, EnclsOperands& operands, arch::EnclsLeaf number) {
  const u64 pageinfo_at = operands.at(arch::rbx), page_at = operands.at(arch::rcx), version_at = operands.at(arch::rdx);
  operands.aligned(pageinfo_at, sizeof(arch::Pageinfo));
  operands.aligned(page_at, arch::page_size);
  GuestLeaf leaf(number);
  leaf.page = operands.brought(page_at);
  operands.aligned(version_at, sizeof(u64));
  leaf.version = operands.brought(version_at);

  const auto info = operands.read<arch::Pageinfo>(pageinfo_at);
  const u64 pcmd_at = operands.linear(info.secinfo), source_at = operands.linear(info.srcpge);
  operands.aligned(pcmd_at, sizeof(arch::Pcmd));
  operands.aligned(source_at, arch::page_size);
  if (operands.failed()) return end_of(operands);

  leaf.pageinfo.linaddr = info.linaddr;
  leaf.operands.pageinfo = &leaf.pageinfo;
  const auto bytes = std::as_writable_bytes(std::span(&leaf.pcmd, 1));
  leaf.unreachable = operands.copy_in(pcmd_at, bytes);
  if (leaf.unreachable) return run(processor, leaf);
  leaf.pageinfo.secinfo = bytes;
  if (has_owner(leaf.pcmd)) {
    EnclsOperands later(processor);
    const u64 secs_at = later.linear(info.secs);
    later.aligned(secs_at, arch::page_size);
    const EpcOperand secs = later.brought(secs_at);
    if (later.stop()) return *later.stop();
    leaf.unreachable = later.fault();
    if (!later.failed()) leaf.secs = secs;
  } else if (info.secs != 0) {
    leaf.pageinfo.secs = arch::Mfn{};  // any: the leaf wants none
  }
  leaf.copy_contents(operands, source_at);
  return run(processor, leaf);
}

}  // namespace cloister::hypervisor::exits
