// What a leaf that root mode ran has answered: nothing is wrong, or this is (SDM vol. 3D, table 38-4).
#pragma once

#include "arch/sgx.hpp"
#include "vmx/package.hpp"

namespace cloister::hypervisor {

inline bool is(const vmx::EnclsResult& result, arch::SgxError error) {
  return !result.fault && result.rax == static_cast<u64>(error);
}

inline bool done(const vmx::EnclsResult& result) { return is(result, arch::SgxError::success); }

/// EWB has, also where the version of a page lay that never came back: it only says so (SDM vol. 3D, 38.3, EWB).
inline bool written_out(const vmx::EnclsResult& result) {
  return done(result) || is(result, arch::SgxError::va_slot_occupied);
}

}  // namespace cloister::hypervisor
