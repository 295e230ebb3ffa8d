// `cloister cpu probe`: a host's SGX as a table that is read from the top, the verdict first.
#include "interop/cpu/probe.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>

#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/hosts/hosts.hpp"
#include "policy/flags.hpp"
#include "text/json_text.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::cpu {

namespace {

using policy::EpcSectionView;
using policy::HostEnvironment;
using policy::HostView;
using policy::Known;
using policy::LaunchCase;
using policy::SgxReport;
using policy::SgxState;
using Rows = std::vector<std::pair<std::string, std::string>>;

constexpr std::size_t text_width = 100;

// ------------------------------------------------------------------------------------------------ words

std::string_view verdict(const SgxReport& report) {
  switch (probe_status(report)) {
    case status::good: return "usable";
    case status::failed: return "not usable";
    default: return "unknown";
  }
}

std::string_view name_of(SgxState state) {
  switch (state) {
    case SgxState::absent: return "absent";
    case SgxState::switched_off: return "disabled";
    case SgxState::offered: return "enabled";
    case SgxState::unknown: break;
  }
  return "unknown";
}

std::string describe_state(const HostView& host, const SgxReport& report) {
  switch (report.state) {
    case SgxState::absent: return host.cpus.empty() ? "not offered to guests" : "absent: the processor has none";
    case SgxState::switched_off: return "disabled: in the processor, and not enabled by firmware";
    case SgxState::offered: return "enabled";
    case SgxState::unknown: break;
  }
  return "unknown";
}

std::string describe_launch(const HostView& host, const SgxReport& report) {
  const char* words = "nothing says whether SGX_LC is there";
  switch (report.launch) {
    case LaunchCase::none: words = "Intel's key, or a token from Intel's launch enclave"; break;
    case LaunchCase::unwritable: words = "the launch hash is Intel's, and locked"; break;
    case LaunchCase::locked: words = "the launch hash is the owner's, and locked"; break;
    case LaunchCase::unlocked: words = "whoever may write MSRs chooses the launch hash"; break;
    case LaunchCase::unknown:
      if (policy::is_launch_locked(host))
        words = "the launch hash is locked, and nothing says to which key";
      else if (has(host, *policy::find_feature("sgxlc")) == Known::yes)
        words = "SGX_LC is there; only the host's MSRs tell whether it is locked";
      break;
  }
  return fmt::format("{}: {}", policy::name_of(report.launch), words);
}

/// "0x2e7: x87 sse avx …" (SDM vol. 1, 13.1).
std::string describe_xfrm(u64 xfrm) {
  struct Component {
    u64 bits;
    std::string_view name;
  };
  constexpr Component components[] = {{1 << 0, "x87"},  {1 << 1, "sse"},    {1 << 2, "avx"},
                                      {3 << 3, "mpx"},  {7 << 5, "avx512"}, {1 << 9, "pku"},
                                      {3 << 11, "cet"}, {3 << 17, "amx"},   {1 << 19, "apx"}};
  std::string text = fmt::format("{:#x}:", xfrm);
  for (const Component& component : components) {
    if ((xfrm & component.bits) == component.bits) text.append(" ").append(component.name);
    xfrm &= ~component.bits;
  }
  return xfrm == 0 ? text : text + fmt::format(" and {:#x}", xfrm);
}

std::string power(u8 log2) { return log2 == 0 ? "unknown" : fmt::format("2^{} bytes", log2); }

std::string_view name_of(HostEnvironment::Device device) {
  switch (device) {
    case HostEnvironment::Device::absent: return "absent";
    case HostEnvironment::Device::refused: return "no permission";
    case HostEnvironment::Device::usable: break;
  }
  return "usable";
}

std::vector<std::pair<std::string, HostEnvironment::Device>> devices(const HostEnvironment& environment) {
  return {{"/dev/sgx_enclave", environment.enclave},
          {"/dev/sgx_vepc", environment.vepc},
          {"/dev/sgx_provision", environment.provision},
          {"/dev/kvm", environment.kvm}};
}

/// As machine.toml has it: byte 0 of the digest first.
std::string digits(const std::array<u64, 4>& hash) {
  std::string text;
  for (unsigned byte = 0; byte < 32; ++byte) text += fmt::format("{:02x}", hash[byte / 8] >> 8 * (byte % 8) & 0xff);
  return text;
}

std::string brand(const HostView& host) {
  if (host.cpus.empty()) return {};
  std::string text = policy::brand_of(host.cpus.front().table);
  std::ranges::replace_if(
      text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

/// The text's words on lines of at most a width, but for words that are longer.
std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > width) lines.emplace_back();
    lines.back().append(lines.back().empty() ? "" : " ").append(word);
    at = end + 1;
  }
  return lines;
}

/// "0x60005: locked, launch control writable, SGX on" (SDM vol. 3D, 37.7.1).
std::string describe_feature_control(u64 value) {
  namespace bits = arch::msr::feature_control_bits;
  return fmt::format("{:#x}: {}, launch hash {}, SGX {}", value, (value & bits::lock) != 0 ? "locked" : "not locked",
                     (value & bits::sgx_launch_control) != 0 ? "writable" : "not writable",
                     (value & bits::sgx_enable) != 0 ? "on" : "off");
}

/// Those of the flags that are of a kind.
std::vector<std::string> of_kind(const std::vector<std::string>& names, policy::FlagKind kind) {
  std::vector<std::string> found;
  std::ranges::copy_if(names, std::back_inserter(found), [&](const std::string& name) {
    const policy::SgxFlag* const flag = policy::find_sgx_flag(name);
    return flag != nullptr && flag->kind == kind;
  });
  return found;
}

// ------------------------------------------------------------------------------------------------ the parts

Rows summary(const HostView& host, const SgxReport& report) {
  Rows rows;
  const auto add = [&](std::string name, const std::string& value) {
    if (value.empty()) return;
    for (std::string& line : wrapped(value, text_width - 20))
      rows.emplace_back(std::exchange(name, ""), std::move(line));
  };
  const auto list = [](const std::vector<std::string>& names) { return fmt::format("{}", fmt::join(names, " ")); };
  add("host", host.name);
  add("SGX for guests", std::string(verdict(report)) +
                            (report.usable && !host.environment ? ", as far as " + host.source + " tells" : ""));
  add("read from",
      host.cpus.size() > 1 ? fmt::format("{}, {} processors", host.source, host.cpus.size()) : host.source);
  add("processor", brand(host));
  add("CPU model", host.model.value_or(""));
  add("SGX", describe_state(host, report));
  if (report.state != SgxState::absent) add("launch control", describe_launch(host, report));
  if (const auto control = policy::feature_control_of(host)) add("feature control", describe_feature_control(*control));
  if (const auto hash = policy::lepubkeyhash_of(host); hash && report.launch != LaunchCase::none)
    add("launch hash", digits(*hash));
  constexpr std::pair<policy::FlagKind, const char*> kinds[] = {{policy::FlagKind::processor, "processor has"},
                                                                {policy::FlagKind::instructions, "instructions"},
                                                                {policy::FlagKind::exceptions, "exceptions"},
                                                                {policy::FlagKind::attribute, "attributes"}};
  for (const auto& [kind, title] : kinds) add(title, list(of_kind(report.has, kind)));
  // Without SGX all is lacking, and nobody needs the lists.
  if (report.state == SgxState::offered || report.state == SgxState::unknown) {
    add("lacks", list(report.lacks));
    add("unknown", list(report.unknown));
  }
  if (report.xfrm != 0) add("XFRM", describe_xfrm(report.xfrm));
  if (report.log2_size_32 != 0 || report.log2_size_64 != 0) {
    add("largest enclave",
        fmt::format("{} in 64-bit mode, {} in 32-bit mode", power(report.log2_size_64), power(report.log2_size_32)));
  }
  if (host.environment) {
    for (const auto& [path, state] : devices(*host.environment)) rows.emplace_back(path, name_of(state));
  }
  return rows;
}

std::string describe_property(u8 property) {
  if (property == 0) return "-";
  const std::string words = policy::property_words(property);
  return words.empty() ? std::to_string(property) : fmt::format("{}: {}", property, words);
}

std::string epc(const SgxReport& report) {
  if (!report.sections) return "EPC: unknown\n";
  if (report.sections->empty()) return "EPC: none\n";
  Table table({">EPC", ">BASE", ">LAST", ">SIZE", ">MiB", ">NODE", "PROPERTY"});
  u64 total = 0;
  for (std::size_t i = 0; i < report.sections->size(); ++i) {
    const EpcSectionView& section = (*report.sections)[i];
    const auto mib = [](u64 bytes) { return fmt::format("{:.10g}", static_cast<double>(bytes) / (1 << 20)); };
    const u64 base = section.base.value_or(0);
    table.add({std::to_string(i), section.base ? fmt::format("{:#x}", base) : "-",
               section.base ? fmt::format("{:#x}", base + section.bytes - 1) : "-", fmt::format("{:#x}", section.bytes),
               mib(section.bytes), section.node ? std::to_string(*section.node) : "-",
               describe_property(section.property)});
    total += section.bytes;
    if (i + 1 == report.sections->size() && i > 0) table.add({"all", "", "", fmt::format("{:#x}", total), mib(total)});
  }
  return table.text();
}

std::string findings(const SgxReport& report) {
  std::string text;
  for (const policy::Finding& finding : report.findings) {
    text += '\n';
    for (const std::string& line : wrapped(finding.rule + ": " + finding.message, text_width)) text += line + '\n';
    for (const std::string& line : wrapped(finding.mend, text_width - 4)) text += "    " + line + '\n';
  }
  return text;
}

// ------------------------------------------------------------------------------------------------ versions

/// What gives guests SGX on this host beside its processor, and since when.
struct Part {
  const char* name;
  const char* command;  ///< whose first line has the version
  const char* needed;
};
constexpr Part parts[] = {
    {"kernel", "uname -r", "5.13 for guests' EPC, 5.17 for its NUMA nodes"},
    {"QEMU", "qemu-system-x86_64 --version 2>/dev/null", "6.2 for SGX, 7.0 for NUMA nodes of EPC"},
    {"libvirt", "libvirtd --version 2>/dev/null || virsh --version 2>/dev/null", "8.10 for <memory model='sgx-epc'>"},
};

/// The first word that begins with a digit; empty: it is not here.
std::string version_of(const Part& part) {
  std::string text;
  const std::unique_ptr<FILE, int (*)(FILE*)> answer(::popen(part.command, "r"), ::pclose);
  std::array<char, 256> line{};
  if (answer && std::fgets(line.data(), line.size(), answer.get()) != nullptr) text = line.data();
  const std::size_t first = std::min(text.find_first_of("0123456789"), text.size());
  return text.substr(first, text.find_first_not_of("0123456789.", first) - first);
}

std::string versions_text() {
  Rows rows;
  for (const Part& part : parts) {
    const std::string version = version_of(part);
    rows.emplace_back(part.name, fmt::format("{}; it takes {}", version.empty() ? "not found" : version, part.needed));
  }
  return "\n" + pairs(rows);
}

nlohmann::ordered_json versions_json() {
  nlohmann::ordered_json json;
  for (const Part& part : parts) {
    const std::string version = version_of(part);
    json[part.name] = {{"version", version.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(version)},
                       {"needed", part.needed}};
  }
  return json;
}

}  // namespace

int probe_status(const SgxReport& report) {
  if (report.usable) return status::good;
  return policy::obstacle(report) != nullptr ? status::failed : status::unknown;
}

std::string probe_text(const HostView& host, const SgxReport& report) {
  return pairs(summary(host, report)) + '\n' + epc(report) + findings(report);
}

nlohmann::ordered_json probe_json(const HostView& host, const SgxReport& report) {
  using Json = nlohmann::ordered_json;
  const auto or_null = [](const auto& value) { return value ? Json(*value) : Json(); };
  const auto hex = [](u64 value) { return fmt::format("{:#x}", value); };
  const auto number = [](u64 value) { return value == 0 ? Json() : Json(value); };
  Json json;
  json["host"] = host.name;
  json["source"] = host.source;
  json["processors"] = host.cpus.size();
  json["processor"] = brand(host);
  json["model"] = or_null(host.model);
  json["sgx_for_guests"] = verdict(report);
  json["sgx"] = report.state == SgxState::absent && host.cpus.empty() ? "not offered" : name_of(report.state);
  json["launch_control"] = policy::name_of(report.launch);
  json["has"] = report.has;
  json["lacks"] = report.lacks;
  json["unknown"] = report.unknown;
  json["xfrm"] = report.xfrm == 0 ? Json() : Json(hex(report.xfrm));
  json["log2_largest_enclave_64"] = number(report.log2_size_64);
  json["log2_largest_enclave_32"] = number(report.log2_size_32);
  json["epc"] = nullptr;
  if (report.sections) {
    json["epc"] = Json::array();
    for (const EpcSectionView& section : *report.sections) {
      json["epc"].push_back({{"base", section.base ? Json(hex(*section.base)) : Json()},
                             {"bytes", section.bytes},
                             {"property", number(section.property)},
                             {"node", or_null(section.node)}});
    }
  }
  json["environment"] = nullptr;
  if (const auto& environment = host.environment) {
    Json& here = json["environment"];
    for (const auto& [path, state] : devices(*environment)) here["devices"][path] = name_of(state);
    here["feature_control"] = environment->feature_control ? Json(hex(*environment->feature_control)) : Json();
    here["launch_hash"] = environment->lepubkeyhash ? Json(digits(*environment->lepubkeyhash)) : Json();
    here["nodes"] = Json::array();
    for (const auto& [node, bytes] : environment->node_bytes)
      here["nodes"].push_back({{"node", node}, {"sgx_total_bytes", bytes}});
  }
  json["findings"] = Json::array();
  for (const policy::Finding& finding : report.findings) {
    json["findings"].push_back(
        {{"rule", finding.rule}, {"message", finding.message}, {"mend", finding.mend}, {"blocks", finding.blocks}});
  }
  return json;
}

int probe(const std::string& host, bool json) {
  const auto view = load_host(host.empty() ? "host" : host);
  if (!view) {
    fmt::print(stderr, "{}\n", view.error());
    return exit_status::bad_configuration;
  }
  const SgxReport report = policy::sgx_report(*view);
  std::string text;
  if (json) {
    nlohmann::ordered_json answer = probe_json(*view, report);
    answer["versions"] = view->environment ? versions_json() : nlohmann::ordered_json();
    text = json_text(answer, 2) + "\n";
  } else {
    text = probe_text(*view, report) + (view->environment ? versions_text() : "");
  }
  const bool printed = print(text);
  return printed ? probe_status(report) : status::failed;
}

}  // namespace cloister::toolstack::cpu
