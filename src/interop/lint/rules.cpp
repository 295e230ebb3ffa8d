// The table of rules.
#include "interop/lint/rules.hpp"

#include <algorithm>
#include <tuple>

namespace cloister::toolstack::lint {

std::span<const Rule> rules() {
  static constexpr Rule table[] = {
      {"duplicate-cpu", "QEMU gets `-cpu` twice, and obeys the last one only", duplicate_cpu},
      {"overridden-model", "A CPU model has no effect, since a later `-cpu` names another one", overridden_model},
      {"cpu-without-model", "`-cpu` has flags and no model", cpu_without_model},
      {"joined-argument", "An option of QEMU's and its value are one argument", joined_argument},
      {"two-accelerators",
       "`-accel` beside what `-machine` or `-enable-kvm` says of it, with which QEMU does not start", two_accelerators},
      {"missing-sgx", "A flag that depends on `sgx` is asked for without it", missing_sgx},
      {"missing-sgx1", "A processor with `sgx` lacks `sgx1`, without which there are no enclaves", missing_sgx1},
      {"missing-mode64", "A processor with SGX lacks `sgx-mode64`, without which there are no 64-bit enclaves",
       missing_mode64},
      {"missing-launch",
       "A named model with SGX has neither `sgxlc` nor `sgx-tokenkey`, so that next to nothing starts", missing_launch},
      {"unknown-model", "No such CPU model is known", unknown_model},
      {"unknown-flag", "No such flag is known", unknown_flag},
      {"foreign-word", "The flag is known, but not to this tool by this name", foreign_word},
      {"odd-value", "A flag of `-cpu` has a value that is neither `on` nor `off`, with which QEMU does not start",
       odd_value},
      {"repeated-flag", "libvirt's `<cpu>` has a flag twice, which libvirt refuses", repeated_flag},
      {"flag-not-in-map", "The installed libvirt's cpu_map lacks the flag", flag_not_in_map},
      {"flags-without-epc", "SGX flags, and no EPC for enclaves to be in", flags_without_epc},
      {"epc-without-flags", "EPC, and a processor without SGX", epc_without_flags},
      {"no-prealloc", "The EPC is not allocated at the start, so that a shortage shows later", no_prealloc},
      {"epc-on-no-node", "Host or guest has several NUMA nodes, and the EPC is bound to none", epc_on_no_node},
      {"old-sgx-epc", "`-sgx-epc` is of Intel's branch of QEMU; QEMU itself has `-M sgx-epc.N`", old_sgx_epc},
      {"old-word", "A word of patches that were not taken, or of before SGX was in the tool itself", old_word},
      {"refused-epc", "libvirt or QEMU does not take the EPC: its size, its node, its number, or the room for it",
       refused_epc},
      {"rounded-epc", "libvirt gives the guest more EPC than is asked for: it rounds sizes up", rounded_epc},
      {"epc-past-libvirt", "EPC in `<qemu:commandline>`, where libvirt does not know of it", epc_past_libvirt},
      {"epc-not-attached", "No `-M sgx-epc.N.memdev` names an EPC backend, or the machine has no EPC",
       epc_not_attached},
      {"host-without-sgx", "SGX is asked of a host of which `cloister cpu probe` says that no guest can have it",
       host_without_sgx},
      {"epc-beyond-host", "More EPC is asked for than the host has", epc_beyond_host},
      {"narrow-xfrm", "The processor has what no enclave on the host may use", narrow_xfrm},
      {"sgx-without-kvm", "SGX is asked of QEMU's interpreter, or of another hypervisor than KVM", sgx_without_kvm},
      {"locked-launch-control", "`sgxlc` is asked of a host whose launch control is locked or missing",
       locked_launch_control},
      {"provisioning-refused", "The provisioning key is asked for without permission on `/dev/sgx_provision`",
       provisioning_refused},
      {"old-cpu-model", "Nova's key `cpu_model` has been `cpu_models` since Nova 20", old_cpu_model},
      {"unknown-cpu-mode", "`cpu_mode` is none of Nova's words", unknown_cpu_mode},
      {"models-without-custom", "`cpu_models` without `cpu_mode = custom`, with which Nova does not start",
       models_without_custom},
      {"custom-without-model", "`cpu_mode = custom` without `cpu_models`, with which Nova does not start",
       custom_without_model},
      {"ignored-flags", "`cpu_model_extra_flags` in a mode in which Nova does not heed it", ignored_flags},
  };
  return table;
}

std::vector<Finding> lint(const Case& of) {
  std::vector<Finding> findings;
  for (const Rule& rule : rules()) {
    rule.look(of, [&](Position at, std::string message, std::string mend) {
      findings.push_back({rule.name, at, std::move(message), std::move(mend)});
    });
  }
  std::ranges::stable_sort(findings, {}, [](const Finding& f) { return std::tuple(f.at.line, f.at.column); });
  return findings;
}

}  // namespace cloister::toolstack::lint
