// Pages of its EPC that a guest gives back, and takes again: a balloon (docs/hypercalls.md). What is given has no
// frame, and is no EPC until it is taken again: every use is a page fault with SGX's bit, as of a page that is not in
// the EPC.
//
// A page that is in use is never given: the hypervisor proves that it is free by EPA, which faults on a page that is
// valid and leaves it as it was (SDM vol. 3D, 39.3, EPA), while it is not mapped and no processor is in the guest.
// EREMOVE would tell too, and destroy what was given by mistake.
#pragma once

#include <optional>
#include <span>

#include "hypervisor/epc/root_leaves.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

/// Why a page was not given or taken; the value is the hypercall's.
enum class BalloonError : i64 {
  stuck = -5,      ///< it was free, and cannot be made free again: it is withdrawn, and the guest has it no more
  no_frame = -12,  ///< there is none for it
  in_use = -16,    ///< it is as it was
  invalid = -22,   ///< no page of the domain's EPC, given already, or not given
};

/// Pages are taken in their order, up to the first that cannot be.
struct Ballooned {
  u64 pages = 0;
  std::optional<BalloonError> stopped;
};

/// Proves a frame free, with the gate closed, and leaves it free, with nothing of the guest's in it. Why not: `in_use`,
/// and then it is as it was, or `stuck`.
std::optional<BalloonError> make_free(vmx::Package& package, RootLeaves& leaves, arch::Mfn frame);

/// The most pages of one call.
inline constexpr u64 most_ballooned = 512;

}  // namespace cloister::hypervisor
