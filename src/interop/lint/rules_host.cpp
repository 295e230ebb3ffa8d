// Rules about who runs the guest, most of which need to know the host: what KVM passes on of launch control (Linux
// clears SGX_LC where the hash MSRs cannot be written, arch/x86/kernel/cpu/feat_ctl.c), and who may open
// /dev/sgx_provision.
#include <fmt/format.h>

#include <algorithm>

#include "interop/lint/rules.hpp"

namespace cloister::toolstack::lint {

namespace {

/// What the host says of SGX, if it says that there is none to give; else empty.
std::string lack_of_sgx(const Case& of) {
  if (of.report == nullptr) return {};
  if (of.report->state == policy::SgxState::absent) return "has no SGX";
  if (of.report->state == policy::SgxState::switched_off) return "has SGX, which its firmware did not switch on";
  const policy::Finding* const obstacle = policy::obstacle(*of.report);
  return obstacle == nullptr ? "" : fmt::format("can give guests no SGX ({})", obstacle->message);
}

}  // namespace

void host_without_sgx(const Case& of, const Report& report) {
  const CpuChoice* cpu = of.subject.cpu();
  const std::string why = lack_of_sgx(of);
  const bool asks = cpu != nullptr && cpu->has_on("sgx");
  if (why.empty() || (!asks && of.subject.epc.empty())) return;
  report(asks ? cpu->find("sgx")->at : of.subject.epc.front().at,
         fmt::format("{} {}: a guest that asks for it does not start, or does without", of.host->name, why),
         "see what `cloister cpu probe` says of the host");
}

void epc_beyond_host(const Case& of, const Report& report) {
  if (of.report == nullptr || !of.report->sections || !lack_of_sgx(of).empty()) return;
  u64 kib = 0, host_bytes = 0;
  for (const EpcSection& section : of.subject.epc) kib += section.kib;
  for (const policy::EpcSectionView& section : *of.report->sections) {
    if (section.bytes == 0) return;  // it does not say
    host_bytes += section.bytes;
  }
  if (kib <= host_bytes >> 10) return;
  report(of.subject.epc.front().at,
         fmt::format("the guest has {} MiB of EPC, and {} has {} MiB in all: QEMU does not start", kib >> 10,
                     of.host->name, host_bytes >> 20),
         "ask for no more than the host has left beside its other guests");
}

/// State components (SDM vol. 1, 13.1) by the feature whose programs use them.
void narrow_xfrm(const Case& of, const Report& report) {
  struct Component {
    std::string_view feature;
    u64 bits;
  };
  constexpr Component components[] = {
      {"avx", 1 << 2}, {"mpx", 3 << 3}, {"avx512f", 7 << 5}, {"pku", 1 << 9}, {"amx-tile", 3 << 17}};
  const CpuChoice* cpu = of.subject.cpu();
  if (of.report == nullptr || of.report->xfrm == 0 || cpu == nullptr || !cpu->has_sgx() || !of.subject.asks_for_sgx())
    return;
  const policy::MapModel* const model = of.map == nullptr ? nullptr : of.map->find_model(cpu->model);
  for (const auto& [name, bits] : components) {
    const policy::Feature& feature = *policy::find_feature(name);
    const Flag* const flag = cpu->find(name);
    const std::string_view word = policy::spelling(feature, policy::Tool::libvirt);
    const bool of_model = model != nullptr && std::ranges::find(model->features, word) != model->features.end();
    const bool of_host = cpu->from_host() && policy::has(*of.host, feature) == policy::Known::yes;
    const bool guest_has = flag != nullptr ? flag->on : of_model || of_host;
    if (!guest_has || (of.report->xfrm & bits) == bits) continue;
    report(cpu->at,
           fmt::format(
               "the guest's processor has {}, and no enclave on {} may use it: one that finds it by CPUID dies of #UD",
               name, of.host->name),
           fmt::format("switch {} off, or build the guest's enclaves without it", name));
  }
}

void sgx_without_kvm(const Case& of, const Report& report) {
  const CpuChoice* cpu = of.subject.cpu();
  const bool asks = !of.subject.epc.empty() || (cpu != nullptr && cpu->has_on("sgx"));
  if (!of.subject.without_kvm || !asks) return;
  const WithoutKvm& without = *of.subject.without_kvm;
  report(without.at,
         fmt::format(
             "{}: SGX is KVM's to give, and who runs guests without it has none of it: the guest gets no SGX flag, and "
             "its EPC is worth nothing",
             without.said),
         without.mend);
}

void locked_launch_control(const Case& of, const Report& report) {
  const CpuChoice* cpu = of.subject.cpu();
  if (of.report == nullptr || !lack_of_sgx(of).empty() || cpu == nullptr || !cpu->has_on("sgxlc")) return;
  const char* why = nullptr;
  switch (of.report->launch) {
    case policy::LaunchCase::none: why = "has no launch control"; break;
    case policy::LaunchCase::unwritable: why = "has launch control locked to Intel's key"; break;
    case policy::LaunchCase::locked: why = "has launch control locked to another key than Intel's"; break;
    case policy::LaunchCase::unlocked: return;
    case policy::LaunchCase::unknown:
      if (of.host == nullptr || !policy::is_launch_locked(*of.host)) return;
      why = "has locked launch control";
      break;
  }
  report(cpu->find("sgxlc")->at,
         fmt::format("{} {}: KVM has no sgxlc to give, and {}", of.host->name, why,
                     of.subject.format == Format::qemu ? "QEMU leaves it out, or with 'enforce' does not start"
                                                       : "libvirt does not start the guest"),
         of.report->launch == policy::LaunchCase::none ? "take sgxlc out"
                                                       : "take sgxlc out, or unlock launch control in the firmware");
}

void provisioning_refused(const Case& of, const Report& report) {
  const CpuChoice* cpu = of.subject.cpu();
  if (of.host == nullptr || !of.host->environment || cpu == nullptr || !cpu->has_on("sgx-provisionkey")) return;
  using Device = policy::HostEnvironment::Device;
  const Device device = of.host->environment->provision;
  // libvirt opens the device to its guests, whatever a person may do with it.
  if (device == Device::usable || (device == Device::refused && of.subject.format != Format::qemu)) return;
  report(cpu->find("sgx-provisionkey")->at,
         fmt::format("{} /dev/sgx_provision on {}: QEMU cannot enable the key, and says 'Could not enable SGX "
                     "PROVISIONKEY'",
                     device == Device::absent ? "there is no" : "there is no permission to open", of.host->name),
         device == Device::absent
             ? "take sgx-provisionkey out, or load a kernel with CONFIG_X86_SGX on a host with SGX"
             : "make the user of QEMU a member of the device's group, or take sgx-provisionkey out");
}

}  // namespace cloister::toolstack::lint
