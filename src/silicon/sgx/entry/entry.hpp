// Crossing an enclave's border (SDM vol. 3D, 36.3 and 36.4): what entries share, and both ways out.
#pragma once

#include "silicon/sgx/leaf.hpp"

namespace cloister::silicon {

LeafResult eenter(LeafContext&);
LeafResult eresume(LeafContext&);
LeafResult eexit(LeafContext&);
LeafResult edeccssa(LeafContext&);

/// The end of one SSA frame's XSAVE header. Behind it lies the AVX component of an enclave that has it, in the same
/// page (isa/vector/xsave.hpp).
inline constexpr u32 ssa_xsave_bytes = 576;

/// The two pages of an SSA frame that the processor writes: EENTER, ERESUME and EDECCSSA check and then remember them.
struct SsaFrame {
  u32 xsave_page = 0, gpr_page = 0;
};
tl::expected<SsaFrame, Miss> check_ssa_frame(LeafContext& ctx, const arch::Secs& secs, const arch::Tcs& tcs,
                                             u32 secs_index, u64 base, u32 frame);

/// GPRSGX and EXINFO of a frame, by its page.
arch::Gprsgx& gprsgx_of(PackageImpl& package, u32 gpr_page);
arch::Exinfo& exinfo_of(PackageImpl& package, u32 gpr_page);

/// CSSA of the TCS that this thread is in changes only so: a thread that tries the same TCS looks at it.
void move_cssa(PackageImpl& package, u32 tcs, i32 by);

/// The common end of EEXIT and of an asynchronous exit: FS, GS, XCR0, TF, tracking, TCS and translations as outside.
void leave_enclave_mode(Cpu& cpu, PackageImpl& package);

/// Asynchronous exit (SDM vol. 3D, ch. 37): saves the state in the SSA frame, loads the synthetic one, leaves enclave
/// mode; RIP becomes the AEP. `event`: the exception that caused it, with the address of a page fault; null for an
/// interrupt, an NMI or a VM exit.
void asynchronous_exit(Cpu& cpu, PackageImpl& package, const Event* event, u64 address);

}  // namespace cloister::silicon
