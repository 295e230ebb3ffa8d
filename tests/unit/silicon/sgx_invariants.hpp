// What is always true of a package's EPCM when no leaf is being executed, whatever software did before (SDM vol. 3D,
// 35.20 and the operations of the leaves).
#pragma once

#include <fmt/format.h>

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/epc/secs.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/silicon.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

class SgxInvariants {
 public:
  SgxInvariants(Package::Impl& package, std::vector<const Cpu*> processors)
      : package_(package), processors_(std::move(processors)) {}

  /// Whether the caller asks after each leaf, or only now and then: a version array that is evicted in between may
  /// bring back versions that have not been seen here.
  enum class Seen { every_step, meetings };

  /// What is broken, a line each; empty if nothing is. From one call to the next it remembers the versions in use.
  std::string broken(Seen seen) {
    text_.clear();
    eids_now_.clear();
    versions_now_.clear();
    counted_.assign(package_.epc_pages(), 0);
    for (u32 i = 0; i < package_.epc_pages(); ++i) {
      if (entry(i).valid && has_owner(entry(i).type) && entry(i).secs < counted_.size()) ++counted_[entry(i).secs];
    }
    for (u32 i = 0; i < package_.epc_pages(); ++i) {
      check_locks(i);
      if (entry(i).valid) check_page(i);
    }
    for (const Cpu* const cpu : processors_) {
      if (cpu->enclave.active) check_inside(cpu->enclave);
    }
    for (const u64 version : versions_now_) {
      // What is new has a number that was not given out before.
      if (seen == Seen::meetings) break;
      require(versions_.contains(version) || version > last_version_, 0, "an old version came back");
    }
    versions_.insert(versions_now_.begin(), versions_now_.end());
    last_version_ = package_.keys().next_version();
    return text_;
  }

 private:
  using PageType = arch::PageType;

  EpcmEntry& entry(u32 index) { return package_.epcm(index); }
  SecsPage& secs(u32 index) { return *reinterpret_cast<SecsPage*>(package_.page(index)); }

  void require(bool holds, u32 page, const char* what) {
    if (!holds) text_ += fmt::format("page {}: {}\n", page, what);
  }

  void check_locks(u32 i) {
    EpcmEntry& e = entry(i);
    for (PageLock* const lock : {&e.lock, &e.sgx2_lock, &e.build_lock, &e.track_lock}) {
      const Held held(*lock, LockMode::exclusive);
      require(static_cast<bool>(held), i, "a lock is held by nobody");
    }
  }

  void check_page(u32 i) {
    switch (entry(i).type) {
      case PageType::secs: return check_secs(i);
      case PageType::va: return check_version_array(i);
      case PageType::reg:
      case PageType::tcs:
      case PageType::trim: return check_child(i);
      case PageType::ss_first:
      case PageType::ss_rest: break;
    }
    require(false, i, "a type that this processor does not make");
  }

  void check_bare(u32 i) {
    const EpcmEntry& e = entry(i);
    require(rights_of(e) == 0 && !e.blocked && !e.pending && !e.modified && !e.permission_restricted, i,
            "a SECS or VA page has rights or states");
    require(e.enclave_address == 0, i, "a SECS or VA page has an address");
  }

  void check_secs(u32 i) {
    check_bare(i);
    const EpcmEntry& e = entry(i);
    require(e.children == counted_[i], i, "the count of children is not that of the pages that name it");
    require(eids_now_.insert(secs(i).internal().eid).second, i, "two enclaves have one id");
    u32 now = 0, before = 0;
    for (const Cpu* const cpu : processors_) {
      if (!cpu->enclave.active || cpu->enclave.secs != i) continue;
      ++(cpu->enclave.epoch == e.epoch ? now : before);
    }
    require(e.threads_now == now, i, "threads of the present epoch are miscounted");
    require(e.threads_before == before, i, "threads of earlier epochs are miscounted");
  }

  void check_version_array(u32 i) {
    check_bare(i);
    require(counted_[i] == 0, i, "a VA page owns pages");
    for (u64 slot = 0; slot < arch::page_size; slot += sizeof(u64)) {
      u64 version;
      std::memcpy(&version, package_.page(i) + slot, sizeof version);
      if (version != 0) require(versions_now_.insert(version).second, i, "two slots have one version");
    }
  }

  void check_child(u32 i) {
    const EpcmEntry& e = entry(i);
    if (e.secs >= package_.epc_pages() || !entry(e.secs).valid || entry(e.secs).type != PageType::secs) {
      return require(false, i, "its owner is no valid SECS");
    }
    require(counted_[i] == 0, i, "it owns pages");
    const arch::Secs& owner = secs(e.secs).architectural;
    require(e.enclave_address - owner.base < owner.size && arch::page_offset(e.enclave_address) == 0, i,
            "its address is not a page of ELRANGE");
    const bool regular = e.type == PageType::reg;
    require(regular || rights_of(e) == 0, i, "a TCS or trimmed page has rights");
    require(!e.write || e.read, i, "it can be written and not read");
    require(!e.pending || (regular && !e.modified && !e.permission_restricted && e.read && e.write && !e.execute), i,
            "PENDING with a state that EAUG does not make");
    require(!e.modified || (!regular && !e.permission_restricted), i, "MODIFIED with a state that EMODT does not make");
    require(!e.permission_restricted || regular, i, "PR on a page that EMODPR does not take");
    require(e.type != PageType::trim || secs(e.secs).initialised(), i, "trimmed before EINIT");
    require(secs(e.secs).initialised() || !(e.pending || e.modified || e.permission_restricted), i,
            "an SGX2 state before EINIT");
    if (e.type == PageType::tcs && !e.modified) check_tcs(i);
  }

  void check_tcs(u32 i) {
    const auto& tcs = *reinterpret_cast<const arch::Tcs*>(package_.page(i));
    u64 inside = 0;
    for (const Cpu* const cpu : processors_) inside += cpu->enclave.active && cpu->enclave.tcs == i ? 1 : 0;
    require(tcs.state == inside, i, "TCS.STATE is not the number of threads that use it");
    require(tcs.cssa == 0 || tcs.cssa <= tcs.nssa, i, "TCS.CSSA is past its frames");
  }

  /// What a processor in enclave mode refers to by cached addresses is still there.
  void check_inside(const EnclaveState& e) {
    require(entry(e.secs).valid && entry(e.secs).type == PageType::secs && secs(e.secs).initialised(), e.secs,
            "a thread is in an enclave without a SECS");
    for (const u32 page : {e.tcs, e.xsave_page, e.gpr_page}) {
      require(entry(page).valid && has_owner(entry(page).type) && entry(page).secs == e.secs, page,
              "a thread uses a TCS or SSA page that is not its enclave's");
    }
  }

  Package::Impl& package_;
  std::vector<const Cpu*> processors_;
  std::string text_;
  std::vector<u32> counted_;  ///< by page: how many valid pages name it as owner
  std::set<u64> eids_now_, versions_now_, versions_;
  u64 last_version_ = 0;
};

}  // namespace cloister::silicon
