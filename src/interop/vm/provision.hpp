// What libvirt and QEMU say of provisioning and launch control: the first by a feature, and of the second nothing but
// whether there is any.
#pragma once

#include <string_view>
#include <vector>

#include "interop/vm/vm.hpp"

namespace cloister::toolstack::vm {

/// The feature of that name is on.
bool has_feature(const Cpu& cpu, std::string_view name);
/// Adds the feature, or changes its policy.
void put_feature(Cpu& cpu, const std::string& name, FeaturePolicy policy);

/// The processor, with `sgx-provisionkey` as Vm::provision says it.
Cpu with_provision(const Vm& vm);

/// Losses of a target on QEMU: the hash is Intel's at the start (QEMU and KVM have no option for it), and the guest may
/// write it where it has `sgxlc`, since QEMU gives it IA32_FEATURE_CONTROL with bit 17 then.
void lose_launch(const Vm& vm, std::string_view target, std::vector<Loss>& losses);

}  // namespace cloister::toolstack::vm
