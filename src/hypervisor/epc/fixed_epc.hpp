// EPC of which every page has its frame, until the guest gives it back (epc/balloon.hpp). No leaf of the guest's exits
// for it.
//
// Thread rules: any thread that holds no lock of the machine's.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/mutex.hpp"
#include "hypervisor/epc/balloon.hpp"
#include "hypervisor/epc/epc_pages.hpp"
#include "hypervisor/epc/pager/gate.hpp"
#include "hypervisor/epc/root_leaves.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

class FixedEpc {
 public:
  struct Domain {
    vmx::Package& package;
    vmx::GuestMemory& memory;             ///< where the ranges are mapped to the frames
    EpcPages pages;                       ///< the EPC that the guest sees
    std::vector<vmx::EpcSection> frames;  ///< as many, in this order
    Gate& gate;
    Mutex& handlers;  ///< what the handler of an exit has from frame_of() on, until its leaf has ended
    RootLeaves& leaves;
  };
  explicit FixedEpc(Domain domain) : domain_(std::move(domain)) {}

  Ballooned give(std::span<const arch::Gpa> pages) CLOISTER_EXCLUDES(lock_);
  Ballooned take(std::span<const arch::Gpa> pages) CLOISTER_EXCLUDES(lock_);
  /// Of the page that has the address. Nullopt: no page of the domain's EPC, or given. With `handlers` held, too.
  std::optional<arch::Mfn> frame_of(arch::Gpa page) const CLOISTER_EXCLUDES(lock_);
  /// Pages that the guest has given and not taken again.
  u64 given() const CLOISTER_EXCLUDES(lock_);

 private:
  std::optional<arch::Mfn> first_frame_of(arch::Gpa page) const;
  std::optional<arch::Mfn> frame_now(arch::Gpa page) const CLOISTER_REQUIRES(lock_);
  std::optional<BalloonError> make_free(arch::Mfn frame);

  const Domain domain_;
  mutable Mutex lock_;
  bool giving_ CLOISTER_GUARDED_BY(lock_) = false;  ///< one caller at a time
  Condition over_;                                  ///< it has given
  /// Pages that have been given at some time, with the frame that they have now, if any.
  std::map<arch::Gpa, std::optional<arch::Mfn>> own_ CLOISTER_GUARDED_BY(lock_);
  std::vector<arch::Mfn> spare_ CLOISTER_GUARDED_BY(lock_);  ///< frames of pages that were given, free
};

}  // namespace cloister::hypervisor
