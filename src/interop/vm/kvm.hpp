// SGX is KVM's to give: QEMU's interpreter (TCG) has neither the flags nor EPC (docs/system/i386/sgx.rst).
#pragma once

#include <vector>

#include "interop/vm/vm.hpp"

namespace cloister::toolstack::vm {

/// The machine as QEMU can run it: one without KVM that asks for SGX loses it all. Says what it does not start with.
Vm as_qemu_runs(const Vm& vm, std::vector<Loss>& losses);

}  // namespace cloister::toolstack::vm
