// EPC virtualization extensions (virtualization.hpp).
#include "silicon/sgx/virtualization.hpp"

#include "arch/try.hpp"
#include "silicon/mmu/mmu.hpp"

namespace cloister::silicon {

namespace {

Miss conflict_exit(SgxConflict code, arch::SgxError error, u64 physical, u64 linear) {
  Exit exit;
  exit.reason = ExitReason::sgx_conflict;
  exit.qualification = SgxConflictQualification{code, static_cast<u16>(error)}.encode();
  exit.physical = Gpa{physical};
  exit.linear = Gva{linear};
  return {.is_exit = true, .fault = {}, .exit = exit};
}

}  // namespace

bool child_present(LeafContext& ctx, u32 secs_index, const char* page) {
  if (fails(page, ".children", ctx.epcm(secs_index).children != 0)) return true;
  return fails(page, ".virtual_children", ctx.epc_virtualization() && ctx.secs(secs_index).live().virtchildcnt != 0);
}

LeafResult LeafContext::busy(u64 linear_address, SgxConflict code) const {
  const bool faults = code == SgxConflict::page_exception;
  if (!epc_virtualization()) {
    if (faults) return leaf_gp();
    return failure(arch::SgxError::epc_page_conflict);
  }
  const auto page = TRY(operands_.page(linear_address, Access::read));
  const auto error = faults ? arch::SgxError::success : arch::SgxError::epc_page_conflict;
  return tl::unexpected(conflict_exit(code, error, page.physical, linear_address));
}

LeafResult LeafContext::cannot_track(u32 secs_index, SgxConflict code, LeafResult otherwise) {
  if (!epc_virtualization()) return otherwise;
  const MutexLock held(package.mutex());
  const EpcmEntry& entry = epcm(secs_index);
  const bool is_secs = entry.valid && entry.type == arch::PageType::secs;
  const u64 context = is_secs ? secs(secs_index).live().enclavecontext : 0;
  return tl::unexpected(conflict_exit(code, arch::SgxError::success, context, 0));
}

}  // namespace cloister::silicon
