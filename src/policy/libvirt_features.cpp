#include "policy/libvirt_features.hpp"

#include <sstream>

namespace cloister::policy {

namespace {

constexpr auto eax = CpuidReg::eax, ebx = CpuidReg::ebx, ecx = CpuidReg::ecx, edx = CpuidReg::edx;

struct BitRow {
  CpuidBit bit;
  const char* name;
};
constexpr BitRow bit_rows[] = {
    {{0x1, 0, ecx, 27}, "osxsave"},        {{0x7, 0, ecx, 4}, "ospke"},
    {{0x24, 0, ebx, 16}, "avx10-128"},     {{0x24, 0, ebx, 17}, "avx10-256"},
    {{0x24, 0, ebx, 18}, "avx10-512"},     {{0x7, 1, eax, 31}, "movrs"},
    {{0x7, 1, edx, 21}, "apxf"},           {{0x1e, 1, eax, 0}, "amx-int8-alias"},
    {{0x1e, 1, eax, 1}, "amx-bf16-alias"}, {{0x1e, 1, eax, 2}, "amx-complex-alias"},
    {{0x1e, 1, eax, 3}, "amx-fp16-alias"}, {{0x1e, 1, eax, 4}, "amx-fp8"},
    {{0x1e, 1, eax, 6}, "amx-tf32"},       {{0x1e, 1, eax, 7}, "amx-avx512"},
    {{0x1e, 1, eax, 8}, "amx-movrs"},      {{0x24, 1, ecx, 2}, "avx10-vnni-int"},
    {{0x29, 0, ebx, 0}, "apx-nci-ndd-nf"}, {{0x8000'0021, 0, eax, 2}, "lfence-always-serializing"},
    {{0x8000'0021, 0, eax, 24}, "eraps"},  {{0x8000'0022, 0, eax, 0}, "perfmon-v2"},
};

struct MsrRow {
  u32 index;
  const char* names;  ///< blanks between them
};
constexpr MsrRow msr_rows[] = {
    {0xcf, "split-lock-detect"},
    {0x10a,
     "rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no tsx-ctrl taa-no sbdr-ssdp-no "
     "fbsdp-no psdp-no fb-clear pbrsb-no gds-no rfds-no rfds-clear bhi-no its-no"},
    {0x480, "vmx-ins-outs vmx-true-ctls vmx-any-errcode vmx-nested-exception"},
    {0x485,
     "vmx-store-lma vmx-activity-hlt vmx-activity-shutdown vmx-activity-wait-sipi "
     "vmx-vmwrite-vmexit-fields vmx-zero-len-inject"},
    {0x48b,
     "vmx-apicv-xapic vmx-ept vmx-desc-exit vmx-rdtscp-exit vmx-apicv-x2apic vmx-vpid vmx-wbinvd-exit "
     "vmx-unrestricted-guest vmx-apicv-register vmx-apicv-vid vmx-ple vmx-rdrand-exit vmx-invpcid-exit "
     "vmx-vmfunc vmx-shadow-vmcs vmx-encls-exit vmx-rdseed-exit vmx-pml vmx-xsaves vmx-tsc-scaling "
     "vmx-enable-user-wait-pause"},
    {0x48c,
     "vmx-ept-execonly vmx-page-walk-4 vmx-page-walk-5 vmx-ept-uc vmx-ept-wb vmx-ept-2mb vmx-ept-1gb "
     "vmx-invept vmx-eptad vmx-ept-advanced-exitinfo vmx-invept-single-context vmx-invept-all-context "
     "vmx-invvpid vmx-invvpid-single-addr vmx-invvpid-single-context vmx-invvpid-all-context "
     "vmx-invvpid-single-context-noglobals"},
    {0x48d, "vmx-intr-exit vmx-nmi-exit vmx-vnmi vmx-preemption-timer vmx-posted-intr"},
    {0x48e,
     "vmx-vintr-pending vmx-tsc-offset vmx-hlt-exit vmx-invlpg-exit vmx-mwait-exit vmx-rdpmc-exit "
     "vmx-rdtsc-exit vmx-cr3-load-noexit vmx-cr3-store-noexit vmx-cr8-load-exit vmx-cr8-store-exit "
     "vmx-flexpriority vmx-vnmi-pending vmx-movdr-exit vmx-io-exit vmx-io-bitmap vmx-mtf vmx-msr-bitmap "
     "vmx-monitor-exit vmx-pause-exit vmx-secondary-ctls"},
    {0x48f,
     "vmx-exit-nosave-debugctl vmx-exit-load-perf-global-ctrl vmx-exit-ack-intr vmx-exit-save-pat "
     "vmx-exit-load-pat vmx-exit-save-efer vmx-exit-load-efer vmx-exit-save-preemption-timer "
     "vmx-exit-clear-bndcfgs vmx-exit-clear-rtit-ctl vmx-exit-load-pkrs vmx-exit-save-cet vmx-exit-secondary-ctls"},
    {0x490,
     "vmx-entry-noload-debugctl vmx-entry-ia32e-mode vmx-entry-load-perf-global-ctrl vmx-entry-load-pat "
     "vmx-entry-load-efer vmx-entry-load-bndcfgs vmx-entry-load-rtit-ctl vmx-entry-load-pkrs "
     "vmx-entry-load-cet vmx-entry-load-fred"},
    {0x491, "vmx-eptp-switching"},
};

CpuMap make() {
  CpuMap map;
  for (const BitRow& row : bit_rows) map.features.push_back({.name = row.name, .cpuid = bits_of(row.bit)});
  for (const MsrRow& row : msr_rows) {
    std::istringstream names(row.names);
    for (std::string name; names >> name;) map.features.push_back({.name = name, .msr = row.index});
  }
  return map;
}

}  // namespace

const CpuMap& more_of_libvirts_features() {
  static const CpuMap map = make();
  return map;
}

}  // namespace cloister::policy
