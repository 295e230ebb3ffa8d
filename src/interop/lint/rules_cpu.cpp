// Rules about the choice of a processor. QEMU keeps the value of the last -cpu and forgets the others (softmmu/vl.c);
// it clears SGX_LC and all of leaf 12H where SGX is off (target/i386/cpu.c, feature_dependencies).
#include <fmt/format.h>

#include "interop/lint/rules.hpp"
#include "policy/dependence.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::lint {

namespace {

std::string shown_model(const CpuChoice& cpu) {
  if (!cpu.model.empty()) return shown(cpu.model);
  return cpu.from_host() ? "the host's processor" : "the default processor";
}

/// The feature lies in SGX's leaf 12H, or is one that leaf 7 has for SGX.
bool needs_sgx(const policy::Feature& feature) {
  return policy::find_sgx_flag(feature.name) != nullptr && feature.name != "sgx";
}

}  // namespace

void duplicate_cpu(const Case& of, const Report& report) {
  const Subject& subject = of.subject;
  if (subject.format == Format::libvirt) {
    for (const CpuChoice& cpu : subject.cpus) {
      if (!cpu.option) continue;
      report(
          cpu.at,
          "libvirt passes a -cpu of its own, and QEMU obeys the last one only, which is this: what <cpu> says has no "
          "effect",
          "take -cpu out of <qemu:commandline>, and write its flags as <feature policy='require' name='…'/> in <cpu>");
    }
  } else if (subject.format == Format::qemu && subject.cpus.size() > 1) {
    report(subject.cpus.back().at,
           fmt::format("this is -cpu for the {} time; QEMU obeys it, and forgets the other",
                       subject.cpus.size() == 2 ? "second" : "last"),
           "write one -cpu with the model that is meant and all flags");
  }
}

void overridden_model(const Case& of, const Report& report) {
  const auto& cpus = of.subject.cpus;
  for (std::size_t i = 0; i + 1 < cpus.size(); ++i) {
    const CpuChoice& last = cpus.back();
    if (cpus[i].model.empty() || cpus[i].model == last.model) continue;
    report(cpus[i].at,
           fmt::format("the model {} has no effect: a later -cpu says {}", shown(cpus[i].model), shown_model(last)),
           "keep the one that is meant");
  }
}

void cpu_without_model(const Case& of, const Report& report) {
  for (const CpuChoice& cpu : of.subject.cpus) {
    if (!cpu.option || !cpu.model.empty()) continue;
    report(cpu.at, "QEMU does not start: the first word of -cpu is its model, and this has flags alone",
           "write the model before them, as in -cpu host,+sgx");
  }
}

void joined_argument(const Case& of, const Report& report) {
  for (const vm::Word& word : of.subject.joined)
    report(word.at,
           fmt::format("QEMU does not start: {} is one argument, and no option of that name exists", shown(word.text)),
           of.subject.format == Format::libvirt ? "write the option and its value as two <qemu:arg>"
                                                : "write the option and its value as two arguments");
}

void two_accelerators(const Case& of, const Report& report) {
  if (!of.subject.second_accelerator || !of.subject.asks_for_sgx()) return;
  const bool xml = of.subject.format == Format::libvirt;
  report(
      *of.subject.second_accelerator,
      fmt::format("QEMU does not start beside {} -accel: 'The -accel and \"-machine accel=\" options are incompatible'",
                  xml ? "libvirt's" : "the other"),
      xml ? "take it out of <qemu:commandline>: <domain type='kvm'> says who runs the guest" : "keep the -accel alone");
}

void missing_sgx(const Case& of, const Report& report) {
  const CpuChoice* cpu = of.subject.cpu();
  if (cpu == nullptr || cpu->has_sgx()) return;
  for (const Flag& flag : cpu->flags) {
    if (!flag.on || flag.feature == nullptr || !needs_sgx(*flag.feature)) continue;
    report(
        flag.at,
        fmt::format("{} without sgx: QEMU clears it, with all of CPUID leaf 0x12, where sgx is off", shown(flag.word)),
        "add sgx, or leave this out");
  }
}

namespace {

/// A named model has of SGX what its flags say and nothing else: QEMU masks all of leaf 12H by them. Null where that is
/// not so, or there are no enclaves at all.
const CpuChoice* named_with_enclaves(const Case& of) {
  const CpuChoice* cpu = of.subject.cpu();
  return cpu != nullptr && !cpu->from_host() && cpu->has_on("sgx") && cpu->has_on("sgx1") ? cpu : nullptr;
}

}  // namespace

namespace {

/// The host's processor with SGX that somebody means to use, and the flag switched off.
const Flag* switched_off(const Case& of, std::string_view feature) {
  const CpuChoice* cpu = of.subject.cpu();
  if (cpu == nullptr || !cpu->from_host() || !cpu->has_sgx()) return nullptr;
  const Flag* const flag = cpu->find(feature);
  return flag != nullptr && !flag->on && (cpu->has_on("sgx") || !of.subject.epc.empty()) ? flag : nullptr;
}

}  // namespace

void missing_mode64(const Case& of, const Report& report) {
  if (const Flag* const off = switched_off(of, "sgx-mode64"))
    return report(off->at, fmt::format("{} is switched off: no enclave of 64 bits can be made", shown(off->word)),
                  "take it out: the host's processor has it");
  const CpuChoice* cpu = named_with_enclaves(of);
  if (cpu == nullptr || cpu->has_on("sgx-mode64")) return;
  report(cpu->find("sgx1")->at,
         fmt::format("{} has no attribute of enclaves by itself: without sgx-mode64 none of 64 bits can be made",
                     shown_model(*cpu)),
         "add sgx-mode64, and of the others what the guest's enclaves ask for: sgx-debug for those of the SDK's debug "
         "builds, sgx-provisionkey for attestation, sgx-kss for Key Separation and Sharing");
}

void missing_launch(const Case& of, const Report& report) {
  const CpuChoice* cpu = named_with_enclaves(of);
  if (cpu == nullptr || cpu->has_on("sgxlc") || cpu->has_on("sgx-tokenkey")) return;
  report(
      cpu->find("sgx1")->at,
      fmt::format("{} has neither sgxlc nor sgx-tokenkey: no launch enclave runs in the guest, and so no enclave but "
                  "Intel's own starts",
                  shown_model(*cpu)),
      "add sgxlc, which Linux's driver needs, or sgx-tokenkey where the host has no launch control");
}

void missing_sgx1(const Case& of, const Report& report) {
  if (const Flag* const off = switched_off(of, "sgx1"))
    return report(off->at,
                  fmt::format("{} is switched off: ENCLS and ENCLU are undefined in the guest", shown(off->word)),
                  "take it out: the host's processor has it");
  const CpuChoice* cpu = of.subject.cpu();
  if (cpu == nullptr || cpu->from_host() || !cpu->has_on("sgx") || cpu->has_on("sgx1")) return;
  report(cpu->find("sgx")->at,
         fmt::format("{} has no flag of SGX by itself: without sgx1 ENCLS and ENCLU are undefined in the guest",
                     shown_model(*cpu)),
         "add sgx1, and sgx-mode64 for enclaves of 64 bits");
}

}  // namespace cloister::toolstack::lint
