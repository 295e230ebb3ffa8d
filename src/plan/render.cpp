// Both forms of a plan show the same: memory map, EPC, CPUID leaves 7 and 12H with the names of their bits, MSRs.
#include "plan/render.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/bootloader.hpp"
#include "config/interfaces.hpp"
#include "plan/interfaces.hpp"
#include "plan/policy_lines.hpp"
#include "text/json_text.hpp"

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

std::string_view name_of(policy::SgxState state) {
  switch (state) {
    case policy::SgxState::absent: return "absent";
    case policy::SgxState::switched_off: return "switched off by its firmware";
    case policy::SgxState::unknown: return "unknown: the dump ends before leaf 0x12 is told";
    case policy::SgxState::offered: break;
  }
  return "offered";
}

/// Words with commas between them, in lines that start with `title` or its width in blanks.
std::string wrapped(const std::string& title, const std::vector<std::string>& words) {
  constexpr std::size_t width = 100;
  std::string text, line = title;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string word = words[i] + (i + 1 < words.size() ? "," : "");
    if (line.size() + word.size() > width && line.size() > title.size()) {
      line.pop_back();
      text += line + "\n";
      line.assign(title.size(), ' ');
    }
    line += word + " ";
  }
  line.pop_back();
  return text + line + "\n";
}

std::string silicon_text(const DomainPlan& plan) {
  const DescribedSilicon& silicon = plan.silicon;
  std::string text = fmt::format("\nsilicon {}\n", silicon.name);
  if (silicon.sgx != policy::SgxState::offered) text += fmt::format("  SGX is {}\n", name_of(silicon.sgx));
  const auto list = [&text](std::string_view title, const policy::FeatureNames& names) {
    if (names == policy::FeatureNames{}) return;
    text += fmt::format("  {}\n", title);
    if (!names.sgx.empty()) text += wrapped("    SGX    ", names.sgx);
    if (!names.other.empty()) text += wrapped("    other  ", names.other);
  };
  list("masked: described, but not offered by the machine", silicon.masking.masked);
  list("hidden: offered by the machine, but not described", silicon.masking.hidden);
  return text;
}

nlohmann::ordered_json silicon_json(const DomainPlan& plan) {
  const auto list = [](const policy::FeatureNames& names) {
    return nlohmann::ordered_json{{"sgx", names.sgx}, {"other", names.other}};
  };
  return {{"name", plan.silicon.name},
          {"processor", policy::brand_of(plan.cpuid)},
          {"sgx", name_of(plan.silicon.sgx)},
          {"masked", list(plan.silicon.masking.masked)},
          {"hidden", list(plan.silicon.masking.hidden)}};
}

std::string shown_disk(const DiskConfig& disk) {
  std::string text = fmt::format("{}, {}, {}: {}", disk.vdev, disk.format, disk.read_only ? "ro" : "rw", disk.path);
  for (const BackingConfig& below : disk.backing) text += fmt::format(", below it {}: {}", below.format, below.path);
  return text;
}

std::string clock_text(const DomainConfig& config) {
  const std::string zone = config.localtime ? "local time" : "UTC";
  return config.rtc_timeoffset == 0 ? zone : fmt::format("{} {:+} s", zone, config.rtc_timeoffset);
}

/// With the address that it will have.
InterfaceConfig settled_interface(const DomainConfig& config, std::size_t interface) {
  InterfaceConfig settled = config.interfaces[interface];
  settled.mac = mac_of(config, interface);
  return settled;
}

std::string sockets_text(const SocketsConfig& sockets) {
  return fmt::format("cid {}{}{}", sockets.guest_cid(), sockets.path.empty() ? "" : ": ", sockets.path);
}

std::string bootloader_text(const DomainConfig& config) {
  const std::string args = bootloader_args_text(config.bootloader_options);
  return args.empty() ? "pygrub" : "pygrub, " + args;
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
  if (!config.uuid.empty()) line("uuid", config.uuid);
  line("type", "pvh");
  line("memory", fmt::format("{} MiB", config.memory_mib));
  line("vcpus", std::to_string(config.vcpus));
  line("silicon", plan.silicon.name);
  line("engine", toolstack::name_of(config.engine));
  if (const std::string brand = policy::brand_of(plan.cpuid); !brand.empty()) line("processor", brand);
  if (config.bootloader) line("bootloader", bootloader_text(config));
  if (!config.bootloader) line("kernel", config.kernel);
  if (!config.bootloader) line("ramdisk", config.ramdisk.empty() ? "none" : config.ramdisk);
  line("cmdline", config.cmdline);
  for (const DiskConfig& disk : config.disks) line("disk", shown_disk(disk));
  for (std::size_t i = 0; i < config.interfaces.size(); ++i) line("vif", interface_text(settled_interface(config, i)));
  if (config.virtio_console) line("hvc0", "on");
  if (config.rng) line("rng", "on");
  if (config.vsock) line("vsock", sockets_text(*config.vsock));
  line("on_poweroff", toolstack::name_of(config.on_poweroff));
  line("on_reboot", toolstack::name_of(config.on_reboot));
  line("on_crash", toolstack::name_of(config.on_crash));
  line("shutdown", fmt::format("{} s after SIGTERM", config.shutdown_timeout));
  line("host down", toolstack::name_of(config.on_host_shutdown));
  line("clock", clock_text(config));

  if (plan.silicon.name != "default") text += silicon_text(plan);
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
  for (const MsrLine& m : msr_lines(plan.msr)) {
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
  json["uuid"] = config.uuid.empty() ? ordered_json(nullptr) : ordered_json(config.uuid);
  json["type"] = "pvh";
  json["memory_mib"] = config.memory_mib;
  json["vcpus"] = config.vcpus;
  json["silicon"] = silicon_json(plan);
  json["engine"] = toolstack::name_of(config.engine);
  json["kernel"] = config.bootloader ? ordered_json(nullptr) : ordered_json(config.kernel);
  if (config.bootloader) json["bootloader"] = "pygrub";
  json["ramdisk"] = config.ramdisk.empty() ? ordered_json(nullptr) : ordered_json(config.ramdisk);
  json["cmdline"] = config.cmdline;
  json["disks"] = ordered_json::array();
  for (const DiskConfig& disk : config.disks) {
    json["disks"].push_back({{"vdev", disk.vdev},
                             {"format", disk.format},
                             {"access", disk.read_only ? "ro" : "rw"},
                             {"target", disk.path}});
    for (const BackingConfig& one : disk.backing)
      json["disks"].back()["backing"].push_back({{"format", one.format}, {"target", one.path}});
  }
  json["interfaces"] = ordered_json::array();
  for (std::size_t i = 0; i < config.interfaces.size(); ++i) {
    const InterfaceConfig interface = settled_interface(config, i);
    if (!interface.bridge.empty()) {
      json["interfaces"].push_back({{"bridge", interface.bridge}, {"mac", mac_text(*interface.mac)}});
      if (!interface.host_name.empty()) json["interfaces"].back()["vifname"] = interface.host_name;
      if (interface.queues != 1) json["interfaces"].back()["queues"] = interface.queues;
      continue;
    }
    ordered_json forwards = ordered_json::array();
    for (const PortForward& forward : interface.forwards) forwards.push_back(forward_text(forward));
    json["interfaces"].push_back({{"type", "user"},
                                  {"mac", mac_text(*interface.mac)},
                                  {"hostfwd", std::move(forwards)},
                                  {"host", interface.reaches_host ? "allow" : "deny"}});
  }
  json["virtio_console"] = config.virtio_console;
  json["rng"] = config.rng;
  json["vsock"] = ordered_json(nullptr);
  if (const auto& sockets = config.vsock) {
    json["vsock"] = {{"cid", sockets->guest_cid()}};
    if (!sockets->path.empty()) json["vsock"]["path"] = sockets->path;
  }
  json["on_poweroff"] = toolstack::name_of(config.on_poweroff);
  json["on_reboot"] = toolstack::name_of(config.on_reboot);
  json["on_crash"] = toolstack::name_of(config.on_crash);
  json["shutdown_timeout"] = config.shutdown_timeout;
  json["on_host_shutdown"] = toolstack::name_of(config.on_host_shutdown);
  json["localtime"] = config.localtime;
  json["rtc_timeoffset"] = config.rtc_timeoffset;
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
  for (const MsrLine& m : msr_lines(plan.msr)) {
    json["msrs"].push_back({{"index", hex(m.index)},
                            {"name", m.name},
                            {"value", m.present ? ordered_json(hex(m.value)) : ordered_json(nullptr)},
                            {"writable", m.present && m.writable}});
  }
  // A configuration's strings may be any bytes; JSON is UTF-8.
  return json_text(json, 2) + "\n";
}

}  // namespace cloister::toolstack
