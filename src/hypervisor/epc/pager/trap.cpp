// What the pager knows without OSS. Which page is whose child it has from the leaves that exit (exits/trap/); all else
// EBLOCK tells (SDM vol. 3D, 38.3): a page that the guest had blocked is SGX_BLKSTATE, and what is no child keeps as it
// was and answers with what it is.
#include <thread>

#include "hypervisor/epc/pager/pager.hpp"

namespace cloister::hypervisor {

/// With the gate closed. A child is only found: it is blocked where its enclave is tracked (Pager::block).
void Pager::identify_by_book(Victim& victim, std::span<const Victim> all) {
  using Fate = Victim::Fate;
  using Kind = PageRecord::Kind;
  {
    const MutexLock held(lock_);
    const PageRecord& record = book_[victim.page];
    if (record.owned) {
      victim.kind = Kind::child;
      if (find_owner(victim, record.secs, all) && victim.image) victim.fate = Fate::goes;
      return;
    }
  }
  const vmx::EnclsResult told = encls(arch::EnclsLeaf::eblock, {.page = victim.frame});
  if (is(told, arch::SgxError::pg_invld)) {
    victim.fate = Fate::free;
    return;
  }
  const bool secs = is(told, arch::SgxError::pg_is_secs);
  if (!secs && !is(told, arch::SgxError::notblockable)) return;
  victim.kind = secs ? Kind::secs : Kind::va;
  if (victim.image) victim.fate = Fate::goes;
}

vmx::EnclsResult Pager::run(const std::function<vmx::EnclsResult()>& leaf) {
  for (;;) {
    const u64 ended = leaves_.ended();
    const vmx::EnclsResult result = leaf();
    if (!may_be_busy(result) || !leaves_.ran_since(ended)) return result;
    std::this_thread::yield();
  }
}

vmx::EnclsResult Pager::run(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands) {
  return run([&] { return package_.encls(leaf, operands); });
}

void Pager::made_child(arch::Gpa page, arch::Gpa secs) {
  const MutexLock held(lock_);
  PageRecord& record = book_[*book_.page_at(page)];
  record.secs = *book_.page_at(secs);
  record.owned = true;
}

void Pager::taken_away(arch::Gpa page) {
  const MutexLock held(lock_);
  book_[*book_.page_at(page)].owned = false;
}

std::optional<arch::Gpa> Pager::secs_of(arch::Gpa page) const {
  const MutexLock held(lock_);
  const PageRecord* const record = book_.find(*book_.page_at(page));
  if (record == nullptr || !record->owned) return std::nullopt;
  return book_.address_of(record->secs);
}

bool Pager::has_children_out(arch::Gpa page) const {
  const MutexLock held(lock_);
  const PageRecord* const record = book_.find(*book_.page_at(page));
  return record != nullptr && record->children_out != 0;
}

}  // namespace cloister::hypervisor
