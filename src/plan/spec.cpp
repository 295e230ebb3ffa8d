// Both are plain copies of what the configuration says, but for the date.
#include "plan/spec.hpp"

#include <time.h>

#include "hypervisor/epc/pager/paging_mode.hpp"

namespace cloister::toolstack {

using hypervisor::Ending;

namespace {

constexpr time_t deterministic_date = 1'735'689'600;  // 2025-01-01 00:00:00 UTC

/// How far the host's local time is ahead of UTC. localtime_r() opens no file once tzset() has been called, which a
/// VMM does before its sandbox.
i64 zone_offset(time_t at) {
  tm local{};
  return ::localtime_r(&at, &local) == nullptr ? 0 : local.tm_gmtoff;
}

platform::RtcTime clock_date(const DomainConfig& config, vmx::ClockMode clock) {
  if (clock == vmx::ClockMode::deterministic) return {deterministic_date + config.rtc_timeoffset, 0};
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const i64 zone = config.localtime ? zone_offset(now.tv_sec) : 0;
  return {now.tv_sec + zone + config.rtc_timeoffset, now.tv_nsec};
}

hypervisor::EpcPaging asked_for(EpcPaging how) {
  switch (how) {
    case EpcPaging::automatic: break;
    case EpcPaging::trap: return hypervisor::EpcPaging::trap;
    case EpcPaging::oss: return hypervisor::EpcPaging::oss;
  }
  return hypervisor::EpcPaging::automatic;
}

}  // namespace

hypervisor::DomainSpec make_spec(const DomainPlan& plan, const Images& images, vmx::ClockMode clock,
                                 const platform::RtcBattery& battery) {
  hypervisor::DomainSpec spec;
  spec.name = plan.config.name;
  spec.map = plan.map;
  spec.vcpus = plan.config.vcpus;
  if (plan.config.epc_is_paged()) spec.epc_paging = asked_for(plan.config.epc_paging);
  spec.cpuid = plan.cpuid;
  spec.msr = plan.msr;
  spec.sgx_provision = plan.config.sgx_provision;
  spec.kernel = images.kernel;
  spec.ramdisk = images.ramdisk;
  spec.disks = images.disks;
  spec.interfaces = images.interfaces;
  spec.virtio_console = plan.config.virtio_console;
  spec.rng = plan.config.rng;
  spec.vsock = images.vsock;
  spec.cmdline = images.cmdline.value_or("");
  if (!plan.config.cmdline.empty()) spec.cmdline.append(spec.cmdline.empty() ? "" : " ").append(plan.config.cmdline);
  spec.clock = clock;
  spec.date = clock_date(plan.config, clock);
  spec.battery = battery;
  return spec;
}

EpcPaging paging_of(const DomainConfig& config, const vmx::SgxFeatures& features) {
  const bool oss = vmx::lists_oss(features.flags(0, arch::CpuidReg::eax));
  const auto mode = hypervisor::paging_mode(asked_for(config.epc_paging), oss);
  return mode == hypervisor::PagingMode::oss ? EpcPaging::oss : EpcPaging::trap;
}

std::optional<Action> action_after(Ending ending, const DomainConfig& config) {
  switch (ending) {
    case Ending::powered_off:
    case Ending::halted: return config.on_poweroff;
    case Ending::reset: return config.on_reboot;
    case Ending::crashed: return config.on_crash;
    case Ending::timed_out:
    case Ending::stopped:
    case Ending::saved: break;
  }
  return std::nullopt;
}

}  // namespace cloister::toolstack
