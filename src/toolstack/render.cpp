// Both forms of a plan show the same: memory map, EPC, CPUID leaves 7 and 12H with the names of their bits, MSRs.
#include "toolstack/render.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace cloister::toolstack {

namespace {

using arch::CpuidRegs;

std::string_view name_of(platform::MapType type) {
  switch (type) {
    case platform::MapType::ram: return "RAM";
    case platform::MapType::reserved: return "reserved";
    case platform::MapType::acpi: return "ACPI data";
    case platform::MapType::nvs: return "ACPI NVS";
  }
  return "unknown";
}

bool is_epc(const DomainPlan& plan, const platform::MapEntry& entry) {
  return std::ranges::any_of(plan.map.epc, [&](const platform::EpcRange& e) { return e.base == entry.base; });
}

struct CpuidLine {
  u32 leaf, subleaf;
  CpuidRegs regs;
  std::vector<std::string> names;  ///< of its bits, or what it means
};

/// The first name of each bit that is set; sub-leaves of leaf 12H from 2 on have numbers rather than bits.
std::vector<std::string> names_of_bits(u32 leaf, u32 subleaf, const CpuidRegs& regs) {
  std::vector<std::string> names;
  if (leaf == arch::leaf::sgx && subleaf >= 2) {
    const u64 base = (u64{regs.ebx & 0xf'ffff} << 32) | (regs.eax & 0xffff'f000);
    const u64 bytes = (u64{regs.edx & 0xf'ffff} << 32) | (regs.ecx & 0xffff'f000);
    if ((regs.eax & 0xf) != 0) names.push_back(fmt::format("EPC {:#x}-{:#x}", base, base + bytes - 1));
    return names;
  }
  const policy::Feature* last = nullptr;
  for (const policy::Feature& feature : policy::features()) {
    if (feature.leaf != leaf || feature.subleaf != subleaf) continue;
    const bool alias = last != nullptr && last->reg == feature.reg && last->bit == feature.bit;
    if (!alias && ((arch::value_of(regs, feature.reg) >> feature.bit) & 1) != 0) names.emplace_back(feature.name);
    last = &feature;
  }
  if (leaf == arch::leaf::sgx && subleaf == 0) {
    names.push_back(fmt::format("enclaves below 2^{} bytes", (regs.edx >> 8) & 0xff));
  }
  if (leaf == arch::leaf::sgx && subleaf == 1) {
    names.push_back(fmt::format("XFRM {:#x}", (u64{regs.edx} << 32) | regs.ecx));
  }
  return names;
}

std::vector<CpuidLine> cpuid_lines(const DomainPlan& plan) {
  std::vector<CpuidLine> lines;
  for (const u32 leaf : {arch::leaf::features, arch::leaf::sgx}) {
    for (u32 subleaf = 0;; ++subleaf) {
      const CpuidRegs regs = plan.cpuid.get(leaf, subleaf);
      // The lists end with a sub-leaf of zeros, which is shown for leaf 12H: a guest reads it too.
      const bool end = regs == CpuidRegs{};
      if (!end || subleaf == 0 || leaf == arch::leaf::sgx) {
        lines.push_back({leaf, subleaf, regs, end ? std::vector<std::string>{} : names_of_bits(leaf, subleaf, regs)});
      }
      if (end && (leaf != arch::leaf::sgx || subleaf >= 2 || !plan.msr.sgx)) break;
    }
  }
  return lines;
}

struct MsrLine {
  u32 index;
  std::string name;
  bool present;  ///< absent: reading raises #GP
  u64 value;
  bool writable;
};

std::vector<MsrLine> msr_lines(const DomainPlan& plan) {
  namespace msr = arch::msr;
  std::vector<MsrLine> lines{{msr::feature_control, "IA32_FEATURE_CONTROL", true, plan.msr.feature_control(), false}};
  const bool writable = (plan.msr.feature_control() & msr::feature_control_bits::sgx_launch_control) != 0;
  for (u32 n = 0; n < plan.msr.lepubkeyhash.size(); ++n) {
    lines.push_back({msr::sgxlepubkeyhash0 + n, fmt::format("IA32_SGXLEPUBKEYHASH{}", n), plan.msr.sgx,
                     plan.msr.lepubkeyhash[n], writable});
  }
  return lines;
}

std::string hex(u64 value) { return fmt::format("{:#x}", value); }

}  // namespace

std::string render_text(const DomainPlan& plan) {
  const DomainConfig& config = plan.config;
  std::string text;
  const auto line = [&text](std::string_view title, std::string_view value) {
    text += fmt::format("{:<13}{}\n", title, value);
  };
  line("name", config.name);
  line("type", "pvh");
  line("memory", fmt::format("{} MiB", config.memory_mib));
  line("vcpus", std::to_string(config.vcpus));
  line("kernel", config.kernel);
  line("ramdisk", config.ramdisk.empty() ? "none" : config.ramdisk);
  line("cmdline", config.cmdline);
  line("on_poweroff", toolstack::name_of(config.on_poweroff));
  line("on_reboot", toolstack::name_of(config.on_reboot));
  line("on_crash", toolstack::name_of(config.on_crash));

  text += "\nmemory map\n";
  for (const platform::MapEntry& entry : plan.map.entries) {
    text += fmt::format("  {:#014x}-{:#014x}  {}{}\n", entry.base.value, entry.base.value + entry.bytes - 1,
                        name_of(entry.type), is_epc(plan, entry) ? " (EPC)" : "");
  }
  text += "\nEPC\n";
  if (plan.map.epc.empty()) text += "  none\n";
  for (const platform::EpcRange& range : plan.map.epc) {
    text += fmt::format("  base {:#x}, {} MiB, NUMA node {}\n", range.base.value, range.bytes >> 20, range.node);
  }
  text += "\nCPUID\n";
  for (const CpuidLine& c : cpuid_lines(plan)) {
    text += fmt::format("  {:#04x}.{}  eax {:08x}  ebx {:08x}  ecx {:08x}  edx {:08x}\n", c.leaf, c.subleaf, c.regs.eax,
                        c.regs.ebx, c.regs.ecx, c.regs.edx);
    if (!c.names.empty()) text += fmt::format("          {}\n", fmt::join(c.names, ", "));
  }
  text += "\nMSR\n";
  for (const MsrLine& m : msr_lines(plan)) {
    text += fmt::format("  {:#04x}  {:<21} ", m.index, m.name);
    text += m.present ? fmt::format("{:016x}  {}\n", m.value, m.writable ? "writable" : "read only") : "#GP\n";
  }
  return text;
}

std::string render_json(const DomainPlan& plan) {
  using nlohmann::ordered_json;
  const DomainConfig& config = plan.config;
  ordered_json json;
  json["name"] = config.name;
  json["type"] = "pvh";
  json["memory_mib"] = config.memory_mib;
  json["vcpus"] = config.vcpus;
  json["kernel"] = config.kernel;
  json["ramdisk"] = config.ramdisk.empty() ? ordered_json(nullptr) : ordered_json(config.ramdisk);
  json["cmdline"] = config.cmdline;
  json["on_poweroff"] = toolstack::name_of(config.on_poweroff);
  json["on_reboot"] = toolstack::name_of(config.on_reboot);
  json["on_crash"] = toolstack::name_of(config.on_crash);
  json["memory_map"] = ordered_json::array();
  for (const platform::MapEntry& entry : plan.map.entries) {
    json["memory_map"].push_back({{"base", hex(entry.base.value)},
                                  {"bytes", entry.bytes},
                                  {"type", name_of(entry.type)},
                                  {"epc", is_epc(plan, entry)}});
  }
  json["epc"] = ordered_json::array();
  for (const platform::EpcRange& range : plan.map.epc) {
    json["epc"].push_back({{"base", hex(range.base.value)}, {"bytes", range.bytes}, {"node", range.node}});
  }
  json["cpuid"] = ordered_json::array();
  for (const CpuidLine& c : cpuid_lines(plan)) {
    json["cpuid"].push_back({{"leaf", hex(c.leaf)},
                             {"subleaf", c.subleaf},
                             {"eax", hex(c.regs.eax)},
                             {"ebx", hex(c.regs.ebx)},
                             {"ecx", hex(c.regs.ecx)},
                             {"edx", hex(c.regs.edx)},
                             {"names", c.names}});
  }
  json["msrs"] = ordered_json::array();
  for (const MsrLine& m : msr_lines(plan)) {
    json["msrs"].push_back({{"index", hex(m.index)},
                            {"name", m.name},
                            {"value", m.present ? ordered_json(hex(m.value)) : ordered_json(nullptr)},
                            {"writable", m.present && m.writable}});
  }
  // A configuration's strings may be any bytes; JSON is UTF-8.
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace cloister::toolstack
