// ELDU, or ELDB for what the guest had blocked (SDM vol. 3D, 38.3), and then what makes the page the one that it was: a
// child is not counted as out any more (with OSS by EDECVIRTCHILD), and where a guest can ask for its name a SECS is
// known by the address that it has there (ESETCONTEXT, SDM vol. 3D, 38.5).
#include "hypervisor/epc/pager/pager.hpp"

namespace cloister::hypervisor {
namespace {

using arch::EnclsLeaf;
using arch::EnclvLeaf;

EnclsLeaf leaf_for(PagingMode mode, bool guest_blocked) {
  if (mode == PagingMode::oss) return guest_blocked ? EnclsLeaf::eldbc : EnclsLeaf::elduc;
  return guest_blocked ? EnclsLeaf::eldb : EnclsLeaf::eldu;
}

}  // namespace

Pager::Loaded Pager::load(EpcPage page, const PageRecord& record, arch::Mfn frame, arch::Mfn secs) {
  const bool child = record.kind == PageRecord::Kind::child;
  vmx::VersionSlot version{};
  {
    const MutexLock held(lock_);
    version = versions_.place_of(record.slot);
  }
  vmx::PageinfoOperand pageinfo{.linaddr = record.linaddr,
                                .source = backing_.page(record.image),
                                .secinfo = backing_.pcmd(record.image),
                                .secs = child ? std::optional(secs) : std::nullopt};
  const EnclsLeaf leaf = leaf_for(mode_, record.guest_blocked);
  if (!done(encls(leaf, {.page = frame, .pageinfo = &pageinfo, .version = version}))) return Loaded::refused;
  ++counts_.loads;
  if (mode_ == PagingMode::trap) {
    const MutexLock held(lock_);
    if (child) --book_[record.secs].children_out;
    return Loaded::yes;
  }
  switch (record.kind) {
    case PageRecord::Kind::child: enclv(EnclvLeaf::edecvirtchild, {.page = secs, .child = frame}); break;
    case PageRecord::Kind::secs:
      enclv(EnclvLeaf::esetcontext, {.page = frame, .context = book_.address_of(page).value});
      for (u32 i = 0; i < record.children_out; ++i) enclv(EnclvLeaf::eincvirtchild, {.page = frame, .child = frame});
      break;
    case PageRecord::Kind::va: break;
  }
  return Loaded::yes;
}

}  // namespace cloister::hypervisor
