// Writing libvirt's domain XML. libvirt 9 takes sgx-epc for a memory device: it counts in <memory>, and there must be
// <maxMemory> with a slot for each section, and a NUMA node.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "interop/vm/formats.hpp"
#include "interop/vm/kvm.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/sizes.hpp"
#include "interop/vm/spoken.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"
#include "text/xml.hpp"

namespace cloister::toolstack::vm {

namespace {

using Node = pugi::xml_node;

/// "<acpi />" as libvirt writes it; elsewhere the parser's writer escapes '>'.
std::string without_blanks(std::string text) {
  for (std::size_t at = 0; (at = text.find(" />", at)) != text.npos;) text.erase(at, 1);
  return text;
}

class LibvirtWriter {
 public:
  LibvirtWriter(const Vm& vm, const policy::CpuMap* map) : vm_(vm), map_(map) {}

  Rendered rendered() {
    Node domain = document_.append_child("domain");
    attribute(domain, "type", vm_.type);
    put(domain, "name", libvirt_name());
    if (!vm_.uuid.empty()) put(domain, "uuid", vm_.uuid);
    memory(domain);
    put(domain, "vcpu", fmt::to_string(vm_.vcpus));
    os(domain);
    Node features = domain.append_child("features");
    features.append_child("acpi");
    features.append_child("apic");
    cpu(domain);
    clock(domain);
    devices(domain);
    launch();
    std::ostringstream text;
    document_.save(text, "  ", pugi::format_indent | pugi::format_no_declaration | pugi::format_attribute_single_quote,
                   pugi::encoding_utf8);
    return {without_blanks(text.str()), std::move(losses_)};
  }

 private:
  void lose(std::string what, std::string why) { losses_.push_back({std::move(what), std::move(why)}); }

  static void attribute(Node node, const char* name, const std::string& value) {
    node.append_attribute(name).set_value(value.c_str());
  }
  static Node put(Node parent, const char* name, const std::string& text) {
    Node node = parent.append_child(name);
    node.text().set(text.c_str());
    return node;
  }
  static Node put_kib(Node parent, const char* name, u64 kib) {
    Node node = put(parent, name, fmt::to_string(kib));
    attribute(node, "unit", "KiB");
    return node;
  }

  /// Text that XML 1.0 can hold (section 2.2, Char): no control characters, and UTF-8.
  std::string sayable(const std::string& text, const char* what) {
    std::string kept = xml::sayable(text);
    if (kept != text) lose(fmt::format("{} {}", what, shown(text)), "XML cannot hold some of its characters");
    return kept;
  }

  std::string libvirt_name() {
    std::string name = sayable(vm_.name, "name");
    const std::string found = name;
    std::ranges::replace(name, '/', '-');
    std::ranges::replace(name, '\n', '-');
    if (name != found) lose(fmt::format("name {}", shown(vm_.name)), "libvirt takes no '/' and no line ends in names");
    // It is one of a file, "NAME.xml" and longer ones.
    constexpr std::size_t longest = 200;
    if (name == "." || name == ".." || name.size() > longest) {
      lose(fmt::format("name {}", shown(vm_.name)), "libvirt keeps the domain in a file of that name");
      name = name.size() > longest ? cut(name, longest) : "domain";
    }
    return name.find_first_not_of(" \t") == name.npos ? "domain" : name;
  }

  void memory(Node domain) {
    const u64 kib = vm_.memory_kib + epc_kib(vm_);
    if (!vm_.epc.empty()) {
      attribute(put_kib(domain, "maxMemory", kib), "slots", fmt::to_string(vm_.epc.size()));
    }
    put_kib(domain, "memory", kib);
  }

  void path(Node os, const char* name, const std::string& value, const char* what) {
    if (value.empty()) return;
    if (!value.starts_with('/') || value.size() < 2 || value.find('\n') != value.npos) {
      return lose(fmt::format("{} {}", what, shown(value)), "libvirt takes absolute paths only");
    }
    put(os, name, sayable(value, what));
  }

  void os(Node domain) {
    Node os = domain.append_child("os");
    Node type = put(os, "type", "hvm");
    attribute(type, "arch", "x86_64");
    const bool word = is_word(vm_.machine);
    if (!vm_.machine.empty() && !word)
      lose(fmt::format("machine {}", shown(vm_.machine)), "it is no name of a machine");
    attribute(type, "machine", word ? vm_.machine : "q35");
    path(os, "kernel", vm_.kernel, "kernel");
    path(os, "initrd", vm_.ramdisk, "ramdisk");
    if (!vm_.cmdline.empty()) put(os, "cmdline", sayable(vm_.cmdline, "cmdline"));
  }

  void cpu(Node domain) {
    const Cpu cpu = with_provision(vm_);
    const bool plain = cpu.mode == CpuMode::unspecified;
    if (plain && cpu.features.empty() && vm_.epc.empty() && vm_.nodes.empty()) return;
    Node node = domain.append_child("cpu");
    switch (cpu.mode) {
      case CpuMode::custom: {
        attribute(node, "mode", "custom");
        attribute(node, "match", "exact");
        // TCG has its own processor, of which nothing is to be held against a host.
        attribute(node, "check", vm_.type == "kvm" ? "partial" : "none");
        Node model = put(node, "model", cpu.model);
        attribute(model, "fallback", "forbid");
        break;
      }
      case CpuMode::host_model: attribute(node, "mode", "host-model"); break;
      case CpuMode::host_passthrough: attribute(node, "mode", "host-passthrough"); break;
      case CpuMode::maximum: attribute(node, "mode", "maximum"); break;
      case CpuMode::unspecified: break;
    }
    for (const CpuFeature& feature : cpu.features) this->feature(node, feature, plain);
    cells(node);
  }

  void feature(Node cpu, const CpuFeature& feature, bool plain) {
    const auto word = word_of_name(feature.name, policy::Tool::libvirt, map_);
    const std::string what = fmt::format("feature {}", is_word(feature.name) ? feature.name : shown(feature.name));
    // What libvirt has no word for is off in its models.
    if (!word && !is_on(feature.policy) && vm_.cpu.mode == CpuMode::custom) return;
    if (!word) return lose(what, word.error());
    if (plain) return lose(what, "libvirt changes features of a model or of the host's processor only");
    Node node = cpu.append_child("feature");
    attribute(node, "policy", std::string(word_of(feature.policy)));
    attribute(node, "name", *word);
  }

  void cells(Node cpu) {
    if (vm_.epc.empty() && vm_.nodes.empty()) return;
    Node numa = cpu.append_child("numa");
    u32 id = 0;
    for (const GuestNode& node : guest_nodes(vm_)) {
      Node cell = numa.append_child("cell");
      attribute(cell, "id", fmt::to_string(id++));
      if (!node.cpus.empty()) attribute(cell, "cpus", fmt::format("{}", fmt::join(runs_of(node.cpus), ",")));
      attribute(cell, "memory", fmt::to_string(node.kib));
      if (node.kib == 0)
        losses_.push_back({fmt::format("NUMA node {} without RAM", id - 1),
                           "libvirt 9 gives it a backend of 0 bytes, with which QEMU does not start", true});
      attribute(cell, "unit", "KiB");
    }
  }

  /// UTC is libvirt's default.
  void clock(Node domain) {
    if (vm_.clock == Clock()) return;
    const char* const base = vm_.clock.localtime ? "localtime" : "utc";
    Node node = domain.append_child("clock");
    if (vm_.clock.ahead == 0) return attribute(node, "offset", base);
    attribute(node, "offset", "variable");
    attribute(node, "adjustment", fmt::to_string(vm_.clock.ahead));
    attribute(node, "basis", base);
  }

  void devices(Node domain) {
    Node devices = domain.append_child("devices");
    if (!vm_.emulator.empty()) path(devices, "emulator", vm_.emulator, "emulator");
    attribute(devices.append_child("serial"), "type", "pty");
    attribute(devices.append_child("console"), "type", "pty");
    for (const Epc& epc : vm_.epc) {
      Node memory = devices.append_child("memory");
      attribute(memory, "model", "sgx-epc");
      if (!epc.host_nodes.empty()) {
        put(memory.append_child("source"), "nodemask", fmt::format("{}", fmt::join(runs_of(epc.host_nodes), ",")));
      }
      Node target = memory.append_child("target");
      put_kib(target, "size", epc.kib);
      if (epc.guest_node) put(target, "node", fmt::to_string(*epc.guest_node));
      if (const u64 rounded = as_libvirt_gives(epc.kib); rounded != epc.kib) {
        losses_.push_back({fmt::format("the exact size of an EPC section of {} KiB", epc.kib),
                           fmt::format("libvirt gives the guest {} KiB", rounded), true});
      }
      if (!epc.prealloc) lose("EPC that is not allocated at the start", "libvirt always has QEMU allocate it");
    }
  }

  void launch() { lose_launch(vm_, "libvirt", losses_); }

  const Vm& vm_;
  const policy::CpuMap* map_;
  pugi::xml_document document_;
  std::vector<Loss> losses_;
};

}  // namespace

Rendered to_libvirt(const Vm& vm) { return to_libvirt_of(vm, nullptr); }

Rendered to_libvirt_of(const Vm& asked, const policy::CpuMap* map) {
  std::vector<Loss> losses;
  const Vm vm = as_qemu_runs(asked, losses);
  Rendered rendered = LibvirtWriter(vm, map).rendered();
  rendered.losses.insert(rendered.losses.begin(), losses.begin(), losses.end());
  return rendered;
}

}  // namespace cloister::toolstack::vm
