// What a root leaf has found becomes what the guest's would have been: a page fault is about an operand of the guest's.
#include "hypervisor/exits/trap/guest_leaf.hpp"

namespace cloister::hypervisor::exits {
namespace {

using arch::EnclsLeaf;
using arch::Mfn;
using arch::SgxError;

/// A GuestLeaf on frames.
class Run {
 public:
  Run(Pager& pager, GuestLeaf& leaf) : pager_(pager), leaf_(leaf) {}

  LeafEnd run() {
    const auto page = pager_.frame_of(leaf_.page.page);
    const auto version = leaf_.version ? pager_.frame_of(leaf_.version->page) : Mfn{};
    const auto secs = leaf_.secs ? pager_.frame_of(leaf_.secs->page) : Mfn{};
    if (!page || !version || !secs) return Again{};
    page_ = *page;
    version_ = *version;
    secs_ = *secs;
    if (leaf_.number == EnclsLeaf::eremove && pager_.has_children_out(leaf_.page.page))
      return Code{SgxError::child_present};
    if (leaf_.number == EnclsLeaf::ewb && pager_.has_children_out(leaf_.page.page)) return refuse_eviction();
    const vmx::EnclsResult result = execute(leaf_.secs.has_value());
    if (result.fault) return fault_of(result);
    const auto error = static_cast<SgxError>(result.rax);
    if (error == SgxError::success || error == SgxError::va_slot_occupied) note();
    switch (leaf_.number) {
      case EnclsLeaf::eadd:
      case EnclsLeaf::eaug:
      case EnclsLeaf::epa: return Unchanged{};
      default: return Code{error};
    }
  }

 private:
  vmx::EnclsResult execute(bool with_secs) {
    vmx::LeafOperands operands = leaf_.operands;
    operands.page = page_;
    if (leaf_.version)
      operands.version = {version_, static_cast<u32>(arch::page_offset(leaf_.version->linear) / sizeof(u64))};
    if (leaf_.secs) leaf_.pageinfo.secs = with_secs ? std::optional(secs_) : std::nullopt;
    return pager_.run(leaf_.number, operands);
  }

  /// What EWB of a SECS with children finds before it sees them: it gets nowhere to write to, and so does not go.
  LeafEnd refuse_eviction() {
    leaf_.pageinfo.source = {};
    const vmx::EnclsResult result = execute(false);
    if (result.fault && (*result.fault != arch::vector::pf || result.page)) return fault_of(result);
    return Code{result.fault ? SgxError::child_present : static_cast<SgxError>(result.rax)};
  }

  LeafEnd fault_of(const vmx::EnclsResult& result) {
    if (*result.fault != arch::vector::pf) return general_protection;
    if (!result.page) return leaf_.unreachable.value_or(general_protection);
    return epc_fault(operand_at(*result.page).linear, leaf_.number != EnclsLeaf::erdinfo);
  }

  const EpcOperand& operand_at(Mfn frame) {
    if (frame == page_) return leaf_.page;
    if (leaf_.version && frame == version_ && !is_about_secs()) return *leaf_.version;
    return leaf_.secs ? *leaf_.secs : leaf_.page;
  }

  /// Where the version array is to be the SECS, too: whether the leaf gets as far as the SECS.
  bool is_about_secs() {
    if (!leaf_.secs || secs_ != version_) return false;
    const vmx::EnclsResult result = execute(false);
    return result.fault == arch::vector::pf && !result.page;
  }

  /// What the leaf has done.
  void note() {
    if (leaf_.secs) pager_.made_child(leaf_.page.page, leaf_.secs->page);
    if (leaf_.number == EnclsLeaf::eremove || leaf_.number == EnclsLeaf::ewb) pager_.taken_away(leaf_.page.page);
    if (leaf_.number == EnclsLeaf::erdinfo) complete_info();
  }

  /// The guest knows a SECS by the address that it has there, and children that are out as children.
  void complete_info() {
    arch::Rdinfo& info = leaf_.rdinfo;
    const bool secs = arch::Secinfo{.flags = info.flags, .reserved = {}}.type() == arch::PageType::secs;
    info.enclavecontext = pager_.secs_of(leaf_.page.page).value_or(arch::Gpa{}).value;
    info.status =
        secs && (info.status != 0 || pager_.has_children_out(leaf_.page.page)) ? arch::rdinfo::child_present : 0;
  }

  Pager& pager_;
  GuestLeaf& leaf_;
  Mfn page_{}, version_{}, secs_{};
};

}  // namespace

void GuestLeaf::copy_contents(EnclsOperands& from, u64 address) {
  if (auto fault = from.copy_in(address, contents)) {
    if (!unreachable) unreachable = fault;
  } else {
    pageinfo.source = contents;
  }
}

LeafEnd run(Processor& processor, GuestLeaf& leaf) {
  LeafEnd end = Again{};
  processor.machine.as_guest(processor, [&] { end = Run(*processor.machine.pager, leaf).run(); });
  return end;
}

}  // namespace cloister::hypervisor::exits
