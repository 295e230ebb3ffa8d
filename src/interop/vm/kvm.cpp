#include "interop/vm/kvm.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "policy/flags.hpp"

namespace cloister::toolstack::vm {

Vm as_qemu_runs(const Vm& vm, std::vector<Loss>& losses) {
  constexpr u32 without_iommu = 255;
  if (vm.vcpus > without_iommu) {
    losses.push_back({fmt::format("interrupt remapping for {} processors", vm.vcpus),
                      "beyond 255 QEMU wants an IOMMU for it, and does not start without", true});
  }
  const auto asks = [](const CpuFeature& f) { return is_on(f.policy) && policy::find_sgx_flag(f.name) != nullptr; };
  const bool sgx = !vm.epc.empty() || vm.provision == true || std::ranges::any_of(vm.cpu.features, asks);
  if (vm.type == "kvm" || !sgx) return vm;
  losses.push_back({"SGX without KVM", "QEMU's interpreter has neither its flags nor EPC; a domain of type 'kvm' may"});
  Vm without = vm;
  std::erase_if(without.cpu.features, asks);
  without.epc.clear();
  without.launch = {};
  without.provision.reset();
  return without;
}

}  // namespace cloister::toolstack::vm
