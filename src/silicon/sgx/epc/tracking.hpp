// Epochs: how ETRACK knows that no processor can still use an old translation (SDM vol. 3D, 36.5.1 and ETRACK).
//
// A thread that enters an enclave is counted in the SECS's present epoch. ETRACK starts a new epoch, if nobody is left
// from the one before. A page blocked in epoch e is tracked once every thread that entered in e or earlier has left.
#pragma once

#include "silicon/sgx/epc/epcm.hpp"

namespace cloister::silicon {

/// Caller holds the package's mutex in all of these. `secs` is an entry of type PT_SECS.

/// The epoch that the thread must remember until leave_enclave().
inline u64 enter_enclave(EpcmEntry& secs) {
  ++secs.threads_now;
  return secs.epoch;
}
inline void leave_enclave(EpcmEntry& secs, u64 entered_in) {
  --(entered_in == secs.epoch ? secs.threads_now : secs.threads_before);
}
/// ETRACK: false if the previous cycle is incomplete.
inline bool start_tracking(EpcmEntry& secs) {
  if (secs.threads_before != 0) return false;
  secs.threads_before = secs.threads_now;
  secs.threads_now = 0;
  ++secs.epoch;
  return true;
}
inline bool is_tracked(const EpcmEntry& secs, const EpcmEntry& page) {
  return secs.epoch >= page.epoch + 2 || (secs.epoch == page.epoch + 1 && secs.threads_before == 0);
}
inline bool threads_active(const EpcmEntry& secs) { return secs.threads_now + secs.threads_before != 0; }

}  // namespace cloister::silicon
