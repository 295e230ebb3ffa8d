// Both are plain copies of what the configuration says.
#include "toolstack/spec.hpp"

namespace cloister::toolstack {

using hypervisor::Ending;

hypervisor::DomainSpec make_spec(const DomainPlan& plan, const Images& images, silicon::ClockMode clock) {
  hypervisor::DomainSpec spec;
  spec.name = plan.config.name;
  spec.map = plan.map;
  spec.vcpus = plan.config.vcpus;
  spec.cpuid = plan.cpuid;
  spec.msr = plan.msr;
  spec.sgx_provision = plan.config.sgx_provision;
  spec.kernel = images.kernel;
  spec.ramdisk = images.ramdisk;
  spec.cmdline = plan.config.cmdline;
  spec.clock = clock;
  return spec;
}

std::optional<Action> action_after(Ending ending, const DomainConfig& config) {
  switch (ending) {
    case Ending::powered_off: return config.on_poweroff;
    case Ending::reset: return config.on_reboot;
    case Ending::crashed: return config.on_crash;
    case Ending::timed_out:
    case Ending::stopped: break;
  }
  return std::nullopt;
}

}  // namespace cloister::toolstack
