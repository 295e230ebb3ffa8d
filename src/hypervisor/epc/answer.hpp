// What a leaf that root mode ran has answered: nothing is wrong, or this is (SDM vol. 3D, table 38-4).
#pragma once

#include "arch/regs.hpp"
#include "arch/sgx.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

inline bool is(const vmx::EnclsResult& result, arch::SgxError error) {
  return !result.fault && result.rax == static_cast<u64>(error);
}

inline bool done(const vmx::EnclsResult& result) { return is(result, arch::SgxError::success); }

/// Somebody else has what the leaf needs, or it faults for another reason: both say no more.
inline bool may_be_busy(const vmx::EnclsResult& result) {
  return result.fault ? *result.fault == arch::vector::gp : is(result, arch::SgxError::epc_page_conflict);
}

/// EWB has, also where the version of a page lay that never came back: it only says so (SDM vol. 3D, 38.3, EWB).
inline bool written_out(const vmx::EnclsResult& result) {
  return done(result) || is(result, arch::SgxError::va_slot_occupied);
}

}  // namespace cloister::hypervisor
