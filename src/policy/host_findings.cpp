// A function for each rule. The texts speak to who runs the host: firmware's settings have their usual names, devices
// and kernel options are Linux's (Documentation/arch/x86/sgx.rst), groups and files are udev's and libvirt's.
#include "policy/host_findings.hpp"

#include <algorithm>

#include "policy/hexadecimal.hpp"

namespace cloister::policy {

using namespace arch;

namespace {

using Device = HostEnvironment::Device;
using Maybe = std::optional<Finding>;

std::string mib(u64 bytes) { return std::to_string(bytes >> 20) + " MiB"; }

u64 total(const std::vector<EpcSectionView>& sections) {
  u64 bytes = 0;
  for (const EpcSectionView& section : sections) bytes += section.bytes;
  return bytes;
}

bool offered(const SgxReport& report) { return report.state == SgxState::offered; }

constexpr const char* software = " Without SGX here, 'cloister run' has a processor with SGX in software.";

// ------------------------------------------------------------------------------------------------ the processor

/// The processors that differ from the first one; of those nothing else is said.
std::vector<u32> others_of(const HostView& host) {
  return host.cpus.empty() ? std::vector<u32>{} : sgx_disagreements({host.cpus});
}

Maybe processors_differ(const HostView& host, const SgxReport&) {
  const std::vector<u32> others = others_of(host);
  if (others.empty()) return std::nullopt;
  constexpr std::size_t most = 8;
  std::string list;
  for (std::size_t i = 0; i < others.size() && i < most; ++i) {
    list += (i == 0 ? "" : ", ") + std::to_string(others[i]);
  }
  if (others.size() > most) list += " and " + std::to_string(others.size() - most) + " more";
  return Finding{"cpus-differ",
                 "the SGX leaves of CPU " + list + " are not those of CPU " + std::to_string(host.cpus.front().number),
                 "Give all packages the same SGX settings in firmware and the same microcode, and boot from power off. "
                 "An enclave that moves between such CPUs fails.",
                 true};
}

bool is_guest(const HostView& host) { return host.cpus.front().table.says(*find_feature("hypervisor")) == Known::yes; }

Maybe no_sgx(const HostView& host, const SgxReport& report) {
  if (report.state != SgxState::absent || host.cpus.empty() || !others_of(host).empty()) return std::nullopt;
  // The letters "AuthenticAMD", and those of Hygon's Dhyana.
  constexpr u32 amd = 0x6874'7541, hygon = 0x6f67'7948;
  const u32 maker = host.cpus.front().table.look(leaf::basic_max, 0).regs.ebx;
  if (maker == amd || maker == hygon || host.vendor == "AMD" || host.vendor == "Hygon")
    return Finding{
        "no-sgx", "the processor is not Intel's, and has no SGX",
        std::string("SGX is in Intel's processors only; AMD's SEV protects whole machines, and runs no enclaves.") +
            software,
        true};
  const std::string mend =
      is_guest(host) ? "This is a virtual machine: have its hypervisor give it SGX and EPC."
                     : "Take a host whose processor has SGX: of servers Xeon E, and Xeon Scalable from the third "
                       "generation on. Workstation models have it fused off.";
  return Finding{"no-sgx", "the processor has no SGX (leaf 7, EBX bit 2 is 0)", mend + software, true};
}

Maybe not_offered(const HostView& host, const SgxReport& report) {
  const bool silent = host.refusal.empty() || report.state == SgxState::switched_off;
  if (report.state == SgxState::absent ? !host.cpus.empty() : silent) return std::nullopt;
  const std::string why = host.refusal.empty() ? "for a reason that is not given" : "'" + host.refusal + "'";
  return Finding{"not-offered", "guests cannot have SGX there (" + host.source + "): " + why,
                 "Run 'cloister cpu probe' on that host: it tells processor, firmware, kernel and permissions apart.",
                 true};
}

Maybe interpreted(const HostView& host, const SgxReport& report) {
  if (!host.without_kvm || report.state == SgxState::absent) return std::nullopt;
  return Finding{"without-kvm", host.source + " speaks of guests without KVM, which cannot have SGX",
                 "Ask for guests with it: 'virsh domcapabilities --virttype kvm', or QEMU with '-accel kvm'.", true};
}

Maybe firmware_disabled(const HostView& host, const SgxReport& report) {
  if (report.state != SgxState::switched_off || !others_of(host).empty()) return std::nullopt;
  const std::string message = !host.refusal.empty() ? host.source + " says '" + host.refusal + "'"
                              : host.cpus.empty()
                                  ? host.source + " says that the processor has SGX, and not SGX1"
                                  : "the processor has SGX (leaf 7), and firmware did not enable it: leaf 0x12 is zero";
  return Finding{
      "firmware-disabled", message,
      "In firmware set SGX to Enabled (not 'Software Controlled') and give the reserved memory (PRMRR) a size, then "
      "boot "
      "from power off. On Xeon Scalable also switch on memory encryption (TME), populate the memory slots as the "
      "board's "
      "manual wants it for SGX, and switch off what it excludes: memory mirroring, clustering of a package's memory.",
      true};
}

/// An excerpt that has leaf 12H alone, of a processor without SGX or with SGX switched off.
Maybe no_sgx1(const HostView& host, const SgxReport& report) {
  if (report.state != SgxState::unknown || has(host, *find_feature("sgx1")) != Known::no) return std::nullopt;
  return Finding{"no-sgx1", "leaf 0x12 has no SGX1: there is no SGX, or firmware did not enable it",
                 "Read that host again with 'cpuid -1 -r', or run 'cloister cpu probe' on it: leaf 7 tells which.",
                 true};
}

Maybe cut_short(const HostView& host, const SgxReport& report) {
  const bool state_unknown = report.state == SgxState::unknown;
  if (state_unknown && has(host, *find_feature("sgx1")) == Known::no) return std::nullopt;
  if (!state_unknown && report.sections) return std::nullopt;
  const std::string mend = host.cpus.empty()
                               ? "Run 'cloister cpu probe' on that host, or bring the output of 'cpuid -1 -r' from it."
                               : "Read that host again with 'cpuid -1 -r', or run 'cloister cpu probe' on it.";
  if (host.cpus.empty()) {
    return Finding{
        "cut-short",
        host.source + " does not say " + (state_unknown ? "whether guests can have SGX" : "how much EPC there is"),
        mend};
  }
  const auto& leaves = host.cpus.front().table.leaves();
  const std::string ends = !leaves.contains({leaf::features, 0}) && state_unknown ? "it does not show leaf 7"
                           : !leaves.contains({leaf::sgx, 0})                     ? "it does not show leaf 0x12"
                                                              : "it ends before sub-leaf 2 of leaf 0x12";
  return Finding{
      "cut-short",
      ends + ": " + (state_unknown ? "whether SGX can be used is unknown" : "the EPC sections are unknown, not absent"),
      mend};
}

Maybe no_epc(const HostView&, const SgxReport& report) {
  if (!offered(report) || !report.sections || !report.sections->empty()) return std::nullopt;
  return Finding{"no-epc", "SGX is enabled, and there is no EPC section",
                 "Give SGX's reserved memory (PRMRR) a size in firmware, and boot from power off.", true};
}

// ------------------------------------------------------------------------------------------------ MSRs

Maybe msrs_differ(const HostView& host, const SgxReport& report) {
  if (report.state == SgxState::absent || host.other_msrs.empty()) return std::nullopt;
  const auto& [index, other] = *host.other_msrs.begin();
  const auto low = [](u64 value) { return hexadecimal(static_cast<u32>(value)); };
  return Finding{"msrs-differ",
                 index == msr::feature_control
                     ? "IA32_FEATURE_CONTROL is " + low(host.msrs.at(index)) + " on one processor, and " + low(other) +
                           " on another"
                     : "IA32_SGXLEPUBKEYHASH" + std::to_string(index - msr::sgxlepubkeyhash0) +
                           " is not the same on all processors",
                 "Give all packages the same SGX settings in firmware, and boot from power off. An enclave that moves "
                 "between such CPUs fails.",
                 true};
}

Maybe feature_control(const HostView& host, const SgxReport& report) {
  using namespace msr::feature_control_bits;
  const auto control = feature_control_of(host);
  if (report.state == SgxState::absent || !control) return std::nullopt;
  const u64 value = *control;
  if ((value & lock) == 0) {
    return Finding{
        "feature-control-unlocked",
        "IA32_FEATURE_CONTROL is " + hexadecimal(static_cast<u32>(value)) + ", not locked: no SGX instruction works",
        "Update the firmware, which should lock it; Linux locks it with SGX on if built with CONFIG_X86_SGX.", true};
  }
  if ((value & sgx_enable) == 0) {
    return Finding{"feature-control-off",
                   "IA32_FEATURE_CONTROL is " + hexadecimal(static_cast<u32>(value)) + ", locked with SGX off (bit 18)",
                   "Only firmware can change it: enable SGX there, and boot from power off.", true};
  }
  return std::nullopt;
}

Maybe launch_control(const HostView& host, const SgxReport& report) {
  if (!offered(report) && !host.launch_locked) return std::nullopt;
  switch (report.launch) {
    case LaunchCase::none:
      return Finding{
          "no-launch-control",
          "no launch control (SGX_LC): enclaves start with Intel's key or a token from Intel's launch enclave",
          "Do not ask for 'sgxlc' or a launch hash. Linux's own driver does not serve such processors."};
    case LaunchCase::unwritable:
      return Finding{"launch-locked", "the launch hash is Intel's, and locked (IA32_FEATURE_CONTROL bit 17 is 0)",
                     "For other launch keys, and for Linux's driver, set launch control to Unlocked in firmware. Until "
                     "then do not ask for 'sgxlc' or a launch hash."};
    case LaunchCase::locked:
      return Finding{"launch-locked", "the launch hash is the owner's, and locked (IA32_FEATURE_CONTROL bit 17 is 0)",
                     "Only enclaves of that key start, in guests too. For others set launch control to Unlocked in "
                     "firmware. Until then do not ask for 'sgxlc' or another launch hash."};
    case LaunchCase::unknown:
      if (is_launch_locked(host))
        return Finding{"launch-locked", "the launch hash is locked, and nothing says to which key",
                       "For other launch keys, and for Linux's driver, set launch control to Unlocked in firmware. "
                       "Until then do not ask for 'sgxlc' or a launch hash."};
      if (!host.environment || has(host, *find_feature("sgxlc")) != Known::yes) return std::nullopt;
      return Finding{"launch-unknown",
                     "there is launch control, and no MSR could be read that tells whether it is locked",
                     "As root: 'modprobe msr', then again."};
    case LaunchCase::unlocked: break;
  }
  return std::nullopt;
}

// ------------------------------------------------------------------------------------------------ devices

bool is(const HostView& host, Device HostEnvironment::*device, Device state) {
  return host.environment && (*host.environment).*device == state;
}

Maybe vepc(const HostView& host, const SgxReport& report) {
  if (!offered(report)) return std::nullopt;
  if (is(host, &HostEnvironment::vepc, Device::absent)) {
    return Finding{
        "no-vepc", "there is no /dev/sgx_vepc, of which QEMU's guests get their EPC",
        "It takes Linux 5.13 or later with CONFIG_X86_SGX_KVM=y, and VMX enabled in firmware: look at 'dmesg | "
        "grep -i sgx'. In a container, pass the device through.",
        true};
  }
  if (is(host, &HostEnvironment::vepc, Device::refused)) {
    return Finding{
        "vepc-refused", "no permission to read and write /dev/sgx_vepc",
        "udev gives the device to the group 'sgx': let who runs QEMU join it, or give the device to the group "
        "'kvm' by a rule such as KERNEL==\"sgx_vepc\", GROUP=\"kvm\", MODE=\"0660\". With libvirt before 8.10 "
        "also list it in cgroup_device_acl of /etc/libvirt/qemu.conf.",
        true};
  }
  return std::nullopt;
}

Maybe kvm(const HostView& host, const SgxReport& report) {
  if (!offered(report)) return std::nullopt;
  if (is(host, &HostEnvironment::kvm, Device::absent)) {
    return Finding{"no-kvm", "there is no /dev/kvm",
                   "Enable VMX in firmware, then 'modprobe kvm_intel'. In a container, pass the device through.", true};
  }
  if (is(host, &HostEnvironment::kvm, Device::refused)) {
    return Finding{"kvm-refused", "no permission to read and write /dev/kvm", "Join the group 'kvm'.", true};
  }
  return std::nullopt;
}

Maybe provision(const HostView& host, const SgxReport& report) {
  if (!offered(report)) return std::nullopt;
  constexpr const char* consequence = ": no guest can be given the provisioning key, which attestation needs";
  if (is(host, &HostEnvironment::provision, Device::absent)) {
    return Finding{"no-provision", std::string("there is no /dev/sgx_provision") + consequence,
                   "It takes Linux 5.11 or later with CONFIG_X86_SGX=y. In a container, pass the device through."};
  }
  if (is(host, &HostEnvironment::provision, Device::refused)) {
    return Finding{
        "provision-refused", std::string("no permission to read and write /dev/sgx_provision") + consequence,
        "Give it by a udev rule such as KERNEL==\"sgx_provision\", GROUP=\"sgx_prv\", MODE=\"0660\" to the group "
        "of who may attest, and join that group. With libvirt before 8.10 also list it in cgroup_device_acl of "
        "/etc/libvirt/qemu.conf."};
  }
  return std::nullopt;
}

// ------------------------------------------------------------------------------------------------ NUMA

Maybe node_bytes(const HostView& host, const SgxReport& report) {
  if (!offered(report) || !report.sections || !host.environment || host.environment->node_bytes.empty())
    return std::nullopt;
  u64 nodes = 0;
  for (const auto& [node, bytes] : host.environment->node_bytes) nodes += bytes;
  if (nodes == total(*report.sections)) return std::nullopt;
  return Finding{"epc-bytes-differ",
                 "the kernel's nodes have " + mib(nodes) + " of EPC (sgx_total_bytes), CPUID's sections " +
                     mib(total(*report.sections)),
                 "See 'dmesg | grep -i sgx' for sections that the kernel did not take: it has at most eight."};
}

Maybe no_node(const HostView& host, const SgxReport& report) {
  if (!offered(report) || !report.sections || !host.environment) return std::nullopt;
  const auto lost = std::ranges::count_if(*report.sections, [](const EpcSectionView& s) { return !s.node; });
  if (lost == 0) return std::nullopt;
  const bool silent = host.environment->node_bytes.empty();
  return Finding{
      "no-node",
      silent ? "the kernel does not tell the NUMA nodes of the EPC sections"
             : std::to_string(lost) + " of " + std::to_string(report.sections->size()) +
                   " EPC sections could not be matched with a NUMA node by their sizes",
      silent ? "Linux tells them from 5.17 on, in /sys/devices/system/node/node*/x86/sgx_total_bytes, if it has "
               "its SGX driver."
             : "See 'dmesg | grep -i sgx' for 'Unable to map EPC section to online node': firmware's SRAT does "
               "not cover the section."};
}

constexpr Maybe (*rules[])(const HostView&, const SgxReport&) = {
    processors_differ, msrs_differ,     no_sgx,     not_offered, interpreted, firmware_disabled,
    no_sgx1,           feature_control, no_epc,     cut_short,   kvm,         vepc,
    provision,         launch_control,  node_bytes, no_node};

}  // namespace

std::vector<Finding> find_obstacles(const HostView& host, const SgxReport& report) {
  std::vector<Finding> findings;
  for (const auto rule : rules) {
    if (auto finding = rule(host, report)) findings.push_back(std::move(*finding));
  }
  std::stable_partition(findings.begin(), findings.end(), [](const Finding& finding) { return finding.blocks; });
  return findings;
}

}  // namespace cloister::policy
