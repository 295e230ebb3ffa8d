// Enclave mode of one logical processor: what EENTER and ERESUME cache, and what an exit restores (SDM vol. 3D, 36.3
// and EENTER).
#pragma once

#include "arch/sgx.hpp"
#include "silicon/state/names.hpp"

namespace cloister::silicon {

struct EnclaveState {
  bool active = false;     ///< CR_ENCLAVE_MODE
  bool opt_out = false;    ///< TCS.FLAGS.DBGOPTIN was 0
  u32 secs = 0;            ///< index of the SECS in the package's EPC
  u32 tcs = 0;             ///< CR_TCS_PA, as an index
  u64 tcs_linear = 0;      ///< CR_TCS_LA
  u64 base = 0, size = 0;  ///< CR_ELRANGE
  u64 epoch = 0;           ///< of the SECS when this thread entered (tracking.hpp)
  u64 xfrm = 0;
  u32 miscselect = 0;
  bool mode64 = true;

  // The SSA frame that an asynchronous exit writes, by its pages' indices.
  u32 xsave_page = 0;  ///< CR_XSAVE_PAGE_0: all components lie in one page
  u32 gpr_page = 0;    ///< CR_GPR_PA's page; GPRSGX is at its end

  // What the processor had outside (SDM vol. 3D, table 36-1).
  Segment saved_fs{}, saved_gs{};
  u64 saved_xcr0 = 0;
  bool saved_tf = false;

  bool in_elrange(u64 linear) const { return linear - base < size; }
};

}  // namespace cloister::silicon
