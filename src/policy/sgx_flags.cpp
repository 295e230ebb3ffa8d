// What there is to say of SGX's features (SDM vol. 3D, ch. 35 to 40; table 36-3 for leaf 12H). Their places and
// spellings are in the table of all features; `cpuid` is the line of the tool of that name.
#include <algorithm>

#include "policy/feature_rows.hpp"
#include "policy/flags.hpp"

namespace cloister::policy {

namespace {

struct Row {
  std::string_view name;
  FlagKind kind;
  std::string_view cpuid, meaning, without;
};

using enum FlagKind;

constexpr Row rows[] = {
    {"sgx", processor, "SGX: Software Guard Extensions supported",
     "The processor has SGX: leaf 0x12 says what of it, unless firmware keeps SGX switched off.",
     "No enclaves: ENCLS and ENCLU raise #UD, and leaf 0x12 is empty."},
    {"sgxlc", processor, "SGX_LC: SGX launch config supported",
     "Flexible launch control: the MSRs IA32_SGXLEPUBKEYHASH0 to 3 say whose enclaves EINIT launches without a token.",
     "Only enclaves that Intel's launch enclave gives a token start; Linux's own SGX driver refuses such a processor."},
    {"sgx-keys", processor, "SGX-KEYS: SGX attestation services", "The platform offers attestation services for SGX.",
     "Software that asks for this bit before it attests finds no attestation; enclaves themselves do not notice."},
    {"sgx1", instructions, "SGX1 supported",
     "The first set of leaf functions: building, entering, leaving, evicting and attesting enclaves.",
     "SGX cannot be used at all: without SGX1 the rest of leaf 0x12 means nothing."},
    {"sgx2", instructions, "SGX2 supported",
     "Dynamic memory: EAUG, EMODPR, EMODT, EACCEPT, EACCEPTCOPY and EMODPE change an enclave's pages while it runs.",
     "Enclaves keep the pages and permissions that they start with: heap, stacks and threads are committed in "
     "advance."},
    {"sgx-enclv", instructions, "SGX ENCLV E*VIRTCHILD, ESETCONTEXT",
     "ENCLV with EINCVIRTCHILD, EDECVIRTCHILD and ESETCONTEXT: a hypervisor can evict pages of its guests' EPC.",
     "A hypervisor inside the guest cannot oversubscribe EPC; nothing else is lost."},
    {"sgx-oss", instructions, "SGX ENCLS ETRACKC, ERDINFO, ELDBC, ELDUC",
     "ENCLS-C: ETRACKC, ERDINFO, ELDBC and ELDUC report a conflict over a page instead of faulting.",
     "A hypervisor inside the guest cannot oversubscribe EPC without faults; nothing else is lost."},
    {"sgx-everifyreport2", instructions, "SGX ENCLU EVERIFYREPORT2",
     "ENCLU[EVERIFYREPORT2] checks reports that trusted domains (TDX) make.",
     "A quoting enclave cannot vouch for trusted domains of this processor."},
    {"sgx-eupdatesvn", instructions, "",
     "ENCLS[EUPDATESVN] raises CPUSVN after a microcode update, with the EPC empty and without a restart.",
     "A microcode update counts in attestation from the next restart on."},
    {"sgx-edeccssa", instructions, "SGX ENCLU EDECCSSA",
     "ENCLU[EDECCSSA] returns from an exception handler inside the enclave without leaving it.",
     "Handlers of AEX-Notify must leave the enclave and resume it, which is slower and can be single-stepped."},
    {"sgx-exinfo", exceptions, "MISCSELECT.EXINFO supported: #PF & #GP",
     "The SSA frame tells an enclave address and error code of a page fault or general protection fault.",
     "Enclaves cannot tell why they faulted: those that grow their memory on demand or handle faults do not start."},
    {"sgx-debug", attribute, "", "An enclave may be made debuggable: EDBGRD and EDBGWR read and write its memory.",
     "Debug enclaves do not start; production enclaves do not notice."},
    {"sgx-mode64", attribute, "", "An enclave may run in 64-bit mode.",
     "Only 32-bit enclaves start: almost none of today's."},
    {"sgx-provisionkey", attribute, "",
     "An enclave may have the provisioning key, from which a platform's attestation key is certified.",
     "Intel's provisioning and DCAP's quoting enclaves do not start: no remote attestation from within the guest."},
    {"sgx-tokenkey", attribute, "",
     "An enclave may have the launch key (EINITTOKEN_KEY), with which launch enclaves make tokens.",
     "No launch enclave starts in the guest: without launch control, neither does an enclave that needs a token."},
    {"sgx-cet", attribute, "",
     "An enclave may have control-flow enforcement: shadow stacks and tracking of indirect branches.",
     "Enclaves that ask for control-flow enforcement do not start."},
    {"sgx-kss", attribute, "",
     "Key separation and sharing: CONFIGID, CONFIGSVN, family and extended product numbers enter keys and reports.",
     "Enclaves that ask for it do not start, such as those whose loader binds a configuration to them."},
    {"sgx-aex-notify", attribute, "",
     "AEX-Notify: an enclave learns that it was interrupted, and can defend itself against single-stepping.",
     "Enclaves that insist on AEX-Notify do not start; others run without that defence."},
};

std::vector<SgxFlag> with_spellings() {
  std::vector<SgxFlag> flags;
  for (const Row& row : rows) {
    const FeatureRow& words = *row_of(*find_feature(row.name));
    flags.push_back({.name = row.name,
                     .kind = row.kind,
                     .libvirt = words.libvirt,
                     .qemu = words.qemu,
                     .xen = words.xen,
                     .cpuinfo = words.cpuinfo,
                     .cpuid = row.cpuid,
                     .meaning = row.meaning,
                     .without = row.without});
  }
  return flags;
}

}  // namespace

std::span<const SgxFlag> sgx_flags() {
  static const std::vector<SgxFlag> flags = with_spellings();
  return flags;
}

const SgxFlag* find_sgx_flag(std::string_view name) {
  const Feature* const feature = find_feature(name);
  const FeatureRow* const row = feature == nullptr ? nullptr : row_of(*feature);
  if (row == nullptr) return nullptr;
  const auto found = std::ranges::find(sgx_flags(), row->name, &SgxFlag::name);
  return found == sgx_flags().end() ? nullptr : &*found;
}

}  // namespace cloister::policy
