// What libvirt says of hosts (libvirt.org: formatdomaincaps, formatcaps; the data of its tests):
//
//     <cpudata arch='x86'><cpuid eax_in='0x12' ecx_in='0x1' eax='0x36' …/>…     leaves, as libvirt's cpuid tool writes
//              <msr index='0x10a' edx='0x0' eax='0xab'/>…                        and what the kernel lists of MSRs
//     <cpu>, <capabilities><host><cpu>                                          the host's model and features
//     <domainCapabilities>                                                      <sgx>, and what host-model would be
//     <qemuCaps>                                                                the cache of those, and of the flags
#include <fmt/format.h>

#include <algorithm>

#include "arch/try.hpp"
#include "interop/hosts/formats.hpp"
#include "interop/vm/sizes.hpp"
#include "policy/flags.hpp"
#include "text/xml.hpp"

namespace cloister::toolstack::hosts {

namespace {

using policy::EpcSectionView;
using policy::HostView;
using Result = tl::expected<HostView, Diagnostic>;
using Step = tl::expected<void, Diagnostic>;

std::string word(const char* text) {
  std::string_view trimmed(text);
  constexpr std::string_view blanks = " \t\r\n";
  const auto first = std::min(trimmed.find_first_not_of(blanks), trimmed.size());
  trimmed.remove_prefix(first);
  return std::string(trimmed.substr(0, trimmed.find_last_not_of(blanks) + 1));
}

// ------------------------------------------------------------------------------------------------ <cpudata>

tl::expected<u32, Diagnostic> attribute(const xml::Document& document, pugi::xml_node node, const char* name) {
  const pugi::xml_attribute found = node.attribute(name);
  if (!found) return 0;
  const auto value = xml::number(found.value());
  if (value && *value <= 0xffff'ffff) return static_cast<u32>(*value);
  return document.error(node, fmt::format("found {}='{}', expected a number of 32 bits", name, shown(found.value())));
}

Result read_cpudata(const xml::Document& document) {
  const pugi::xml_node root = document.root();
  if (const std::string arch = word(root.attribute("arch").value()); arch != "x86")
    return document.error(root, fmt::format("found the data of arch='{}', expected 'x86'", shown(arch)));
  HostView host;
  host.source = "libvirt's CPU data";
  policy::CpuidTable table;
  for (const pugi::xml_node node : root.children("cpuid")) {
    // Before libvirt 1.3 the leaf was called 'function'.
    const char* const leaf_name = node.attribute("eax_in") ? "eax_in" : "function";
    if (!node.attribute(leaf_name))
      return document.error(node, "found <cpuid> without eax_in, expected the leaf's number");
    u32 values[6]{};
    const char* const names[] = {leaf_name, "ecx_in", "eax", "ebx", "ecx", "edx"};
    for (std::size_t i = 0; i < std::size(names); ++i) {
      const auto value = TRY(attribute(document, node, names[i]));
      values[i] = value;
    }
    if (table.leaves().contains({values[0], values[1]})) {
      return document.error(
          node, fmt::format("found leaf {:#x}, sub-leaf {:#x} again, expected each once", values[0], values[1]));
    }
    table.set(values[0], values[1], {values[2], values[3], values[4], values[5]});
  }
  for (const pugi::xml_node node : root.children("msr")) {
    u32 values[3]{};
    constexpr const char* names[] = {"index", "eax", "edx"};
    for (std::size_t i = 0; i < std::size(names); ++i) {
      const auto value = TRY(attribute(document, node, names[i]));
      values[i] = value;
    }
    host.msrs[values[0]] = u64{values[2]} << 32 | values[1];
  }
  if (table.leaves().empty()) return document.error(root, "found no <cpuid>, expected one for each leaf");
  host.cpus.push_back({0, std::move(table)});
  return host;
}

// ------------------------------------------------------------------------------------------------ <cpu>

/// <model> and <feature>s; those of the model itself are not among them.
Step read_cpu(const xml::Document& document, pugi::xml_node cpu, HostView& host) {
  if (const std::string model = word(cpu.child_value("model")); !model.empty()) host.model = shown(model);
  host.vendor = word(cpu.child_value("vendor"));
  for (const pugi::xml_node node : cpu.children("feature")) {
    const std::string name = node.attribute("name").value(), policy = node.attribute("policy").as_string("require");
    if (name.empty()) return document.error(node, "found <feature> without a name, expected name='…'");
    const policy::Feature* const feature = policy::find_spelling(name, policy::Tool::libvirt);
    if (feature == nullptr) continue;  // flags of KVM and of VMX are no features of ours
    if (policy == "require" || policy == "force") {
      host.named.learn(*feature, true);
    } else if (policy == "disable" || policy == "forbid") {
      host.named.learn(*feature, false);
    } else if (policy != "optional") {
      return document.error(
          node, fmt::format("found policy='{}', expected require, force, optional, disable or forbid", shown(policy)));
    }
  }
  return {};
}

Result read_host_cpu(const xml::Document& document, pugi::xml_node cpu, const char* source) {
  HostView host;
  host.source = source;
  if (const std::string arch = word(cpu.child_value("arch")); !arch.empty() && arch != "x86_64" && arch != "i686")
    return document.error(cpu.child("arch"), fmt::format("found arch '{}', expected x86_64", shown(arch)));
  if (const Step read = read_cpu(document, cpu, host); !read) return tl::unexpected(read.error());
  if (!host.model && host.named.leaves().empty())
    return document.error(cpu, "found neither <model> nor <feature>, expected what the host's CPU is");
  return host;
}

// ------------------------------------------------------------------------------------------------ <domainCapabilities>

tl::expected<u64, Diagnostic> bytes_of(const xml::Document& document, pugi::xml_node node, std::string_view value) {
  const std::string name = node.attribute("unit").as_string("KiB");
  const auto unit = vm::bytes_of_unit(name);
  const auto number = xml::number(value);
  if (unit && number && *number <= ~u64{0} / *unit) return *number * *unit;
  return document.error(node, fmt::format("found '{}' {}, expected a size in KiB", shown(value), shown(name)));
}

tl::expected<std::vector<EpcSectionView>, Diagnostic> read_sections(const xml::Document& document, pugi::xml_node sgx) {
  std::vector<EpcSectionView> sections;
  for (const pugi::xml_node node : sgx.child("sections").children("section")) {
    const auto bytes = TRY(bytes_of(document, node, node.attribute("size").value()));
    EpcSectionView section{.base = std::nullopt, .bytes = bytes, .property = 0, .node = std::nullopt};
    if (node.attribute("node")) {
      const auto number = TRY(attribute(document, node, "node"));
      section.node = number;
    }
    sections.push_back(section);
  }
  // Before libvirt listed sections it gave their sum.
  if (sections.empty() && sgx.child("section_size")) {
    const auto bytes = TRY(bytes_of(document, sgx.child("section_size"), sgx.child_value("section_size")));
    if (bytes != 0) sections.push_back({.base = std::nullopt, .bytes = bytes, .property = 0, .node = std::nullopt});
  }
  return sections;
}

Step read_sgx(const xml::Document& document, pugi::xml_node sgx, HostView& host) {
  const std::string supported = sgx.attribute("supported").value();
  if (supported != "yes" && supported != "no")
    return document.error(sgx, fmt::format("found supported='{}', expected yes or no", shown(supported)));
  host.named.learn(*policy::find_feature("sgx"), supported == "yes");
  if (supported == "no") return {};
  constexpr std::pair<const char*, const char*> elements[] = {{"flc", "sgxlc"}, {"sgx1", "sgx1"}, {"sgx2", "sgx2"}};
  for (const auto& [element, feature] : elements) {
    const pugi::xml_node node = sgx.child(element);
    if (!node) continue;
    const std::string value = word(node.child_value());
    if (value != "yes" && value != "no")
      return document.error(node, fmt::format("found '{}', expected yes or no", shown(value)));
    host.named.learn(*policy::find_feature(feature), value == "yes");
  }
  auto sections = TRY(read_sections(document, sgx));
  if (sgx.child("sections") || sgx.child("section_size")) host.epc = std::move(sections);
  return {};
}

Result read_domain_capabilities(const xml::Document& document) {
  const pugi::xml_node root = document.root();
  if (const std::string arch = word(root.child_value("arch")); !arch.empty() && arch != "x86_64" && arch != "i686")
    return document.error(root.child("arch"), fmt::format("found arch '{}', expected x86_64", shown(arch)));
  HostView host;
  host.source = "libvirt's domain capabilities";
  host.without_kvm = word(root.child_value("domain")) == "qemu";
  if (host.without_kvm) host.source += " (without KVM)";
  const pugi::xml_node model = root.child("cpu").find_child_by_attribute("mode", "name", "host-model");
  if (const Step read = read_cpu(document, model, host); !read) return tl::unexpected(read.error());
  if (const pugi::xml_node sgx = root.child("features").child("sgx")) {
    if (const Step read = read_sgx(document, sgx, host); !read) return tl::unexpected(read.error());
  }
  return host;
}

// ------------------------------------------------------------------------------------------------ <qemuCaps>

/// What libvirt keeps of a QEMU that it asked (/var/cache/libvirt/qemu/capabilities/*.xml): QMP's answers as XML.
Result read_qemu_capabilities(const xml::Document& document) {
  const pugi::xml_node root = document.root();
  HostView host;
  host.source = "libvirt's cache of QEMU's capabilities";
  const pugi::xml_node cpu = root.find_child_by_attribute("hostCPU", "type", "kvm");
  for (const pugi::xml_node node : cpu.children("property")) {
    if (std::string_view(node.attribute("type").value()) != "boolean") continue;
    if (const policy::Feature* const f = policy::find_spelling(node.attribute("name").value(), policy::Tool::qemu))
      host.named.learn(*f, std::string_view(node.attribute("value").value()) == "true");
  }
  if (const pugi::xml_node sgx = root.child("sgx")) {
    if (const Step read = read_sgx(document, sgx, host); !read) return tl::unexpected(read.error());
  }
  return host;
}

}  // namespace

Result read_libvirt(std::string_view text) {
  const auto document = xml::Document::parse(text);
  if (!document) return tl::unexpected(document.error());
  const pugi::xml_node root = document->root();
  const std::string name = root.name();
  if (name == "cpudata") return read_cpudata(*document);
  if (name == "cpu") return read_host_cpu(*document, root, "libvirt's CPU of a host");
  if (name == "domainCapabilities") return read_domain_capabilities(*document);
  if (name == "qemuCaps") return read_qemu_capabilities(*document);
  if (name == "capabilities") {
    const pugi::xml_node cpu = root.child("host").child("cpu");
    if (!cpu) return document->error(root, "found no <host><cpu>, expected libvirt's capabilities of a host");
    return read_host_cpu(*document, cpu, "libvirt's capabilities");
  }
  return document->error(root, fmt::format("found <{}>, expected <domainCapabilities>, <capabilities>, <cpu>, "
                                           "<qemuCaps> or <cpudata>",
                                           shown(name)));
}

}  // namespace cloister::toolstack::hosts
