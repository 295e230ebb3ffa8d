// OpenStack Nova (nova/conf/libvirt.py, https://docs.openstack.org/nova/latest/admin/cpu-models.html): the processor is
// a matter of the compute host's nova.conf, sizes are one of the flavor. Nova drives libvirt: what it has no word for,
// and libvirt has, is given as libvirt's XML. All but the settings are comments, so that the text is a nova.conf.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "interop/vm/clock.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/kvm.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/spoken.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"
#include "text/xml.hpp"

namespace cloister::toolstack::vm {

namespace {

using Losses = std::vector<Loss>;

/// Of what is not prose in a comment.
constexpr std::string_view indent = "  ";

/// Each line of the text as one of a comment, without what a terminal would obey.
std::string comment(const std::string& text, std::string_view before = {}) {
  std::string result;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::ranges::replace_if(
        line, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, ' ');
    result += line.empty() ? "#\n" : fmt::format("# {}{}\n", before, line);
  }
  return result;
}

// ------------------------------------------------------------------------------------------------ nova.conf

std::string mode_lines(const Cpu& cpu, Losses& losses) {
  switch (cpu.mode) {
    case CpuMode::unspecified: break;
    case CpuMode::host_model: return "cpu_mode = host-model\n";
    case CpuMode::host_passthrough: return "cpu_mode = host-passthrough\n";
    case CpuMode::maximum:
      losses.push_back({"CPU mode maximum", "Nova's cpu_mode is custom, host-model, host-passthrough or none"});
      break;
    case CpuMode::custom:
      if (is_word(cpu.model))
        return fmt::format(
            "cpu_mode = custom\ncpu_models = {0}\n# the same before Nova 20 (Train):\n# cpu_model = {0}\n", cpu.model);
      losses.push_back({"CPU model " + shown(cpu.model), "it is no name of a CPU model"});
      break;
  }
  return {};
}

/// `flag` enables and `-flag` disables; with no word for libvirt's other policies, the nearest is taken.
std::string flags_line(const Cpu& cpu, Losses& losses, const policy::CpuMap* map) {
  std::string flags;
  for (const SpokenFeature& feature : spoken(cpu, policy::Tool::libvirt, losses, map)) {
    if (feature.policy != FeaturePolicy::require && feature.policy != FeaturePolicy::disable)
      losses.push_back({fmt::format("policy '{}' of feature {}", word_of(feature.policy), feature.name),
                        "Nova can enable a flag or disable it"});
    if (feature.policy == FeaturePolicy::optional) continue;
    flags += fmt::format("{}{}{}", flags.empty() ? "" : ",", is_on(feature.policy) ? "" : "-", feature.name);
  }
  return flags.empty() ? "" : fmt::format("cpu_model_extra_flags = {}\n", flags);
}

std::string settings(const Vm& vm, Losses& losses, const policy::CpuMap* map) {
  std::string text =
      fmt::format("# nova.conf of a compute host\n[libvirt]\nvirt_type = {}\n", vm.type == "qemu" ? "qemu" : "kvm");
  if (is_word(vm.machine)) text += fmt::format("hw_machine_type = x86_64={}\n", vm.machine);
  return text + mode_lines(vm.cpu, losses) + flags_line(with_provision(vm), losses, map);
}

// ------------------------------------------------------------------------------------------------ the flavor

std::string flavor(const Vm& vm) {
  const bool sgx = !vm.epc.empty() || has_feature(vm.cpu, "sgx");
  const std::string name = is_word(vm.name) ? vm.name : "FLAVOR";
  std::string text = fmt::format("openstack flavor create --ram {} --vcpus {} --disk 0 {}\n",
                                 (vm.memory_kib + 1023) / 1024, vm.vcpus, name);
  std::string properties;
  if (sgx) properties += " --property trait:HW_CPU_X86_SGX=required";
  if (!vm.epc.empty() || !vm.nodes.empty())
    properties += fmt::format(" --property hw:numa_nodes={}", guest_nodes(vm).size());
  if (!properties.empty()) text += fmt::format("openstack flavor set{} {}\n", properties, name);
  std::string intro = "The flavor.";
  if (sgx)
    intro +=
        " Nova does not find out which hosts have the trait: openstack resource provider trait set\ngives it to them.";
  return fmt::format("\n{}{}", comment(intro), comment(text, indent));
}

// ------------------------------------------------------------------------------------------------ EPC, boot

/// What of libvirt's XML is about the EPC.
std::string epc_fragment(const Vm& vm) {
  if (vm.epc.empty()) return {};
  const auto whole = xml::Document::parse(to_libvirt(vm).text);
  if (!whole) return {};
  pugi::xml_document part;
  pugi::xml_node domain = part.append_child("domain");
  for (const char* size : {"maxMemory", "memory"}) domain.append_copy(whole->root().child(size));
  pugi::xml_node devices = domain.append_child("devices");
  for (const pugi::xml_node memory : whole->root().child("devices").children("memory")) devices.append_copy(memory);
  std::ostringstream text;
  part.save(text, "  ", pugi::format_indent | pugi::format_no_declaration | pugi::format_attribute_single_quote);
  constexpr const char* intro =
      "EPC, for which Nova has no word. virsh edit adds it to an instance that is shut off, with the sizes of memory\n"
      "that go with it; Nova writes the XML anew when it rebuilds, resizes, migrates or hard-reboots the instance.";
  return fmt::format("\n{}{}", comment(intro), comment(text.str(), indent));
}

std::string boot(const Vm& vm) {
  if (vm.kernel.empty()) return {};
  std::string keys = fmt::format("kernel_id: {}\n", vm.kernel);
  if (!vm.ramdisk.empty()) keys += fmt::format("ramdisk_id: {}\n", vm.ramdisk);
  if (!vm.cmdline.empty()) keys += fmt::format("os_command_line: {}\n", vm.cmdline);
  return fmt::format("\n{}{}", comment("Booting is up to the image's properties; the first two name images of files."),
                     comment(keys, indent));
}

/// Nova divides RAM and processors evenly among NUMA nodes.
void lose_uneven_nodes(Vm& vm, Losses& losses) {
  const std::size_t nodes = guest_nodes(vm).size();
  const auto even = [&](const GuestNode& node) {
    return node.cpus.size() * nodes == vm.vcpus && node.kib * nodes == vm.memory_kib;
  };
  if (vm.vcpus % nodes == 0 && vm.memory_kib / 1024 % nodes == 0 && std::ranges::all_of(vm.nodes, even)) return;
  losses.push_back({fmt::format("{} guest NUMA nodes{}", nodes, vm.nodes.empty() ? " of the EPC" : ""),
                    "Nova divides processors and RAM evenly among nodes, and these are not, or cannot be, divided so"});
  vm.nodes.clear();
  for (Epc& section : vm.epc) section.guest_node.reset();
}

/// What libvirt says of a guest of Nova's: its name and how it boots are Nova's.
Vm seen_by_libvirt(Vm vm) {
  vm.name = "instance";
  vm.kernel = vm.ramdisk = vm.cmdline = vm.emulator = {};
  return vm;
}

}  // namespace

Rendered to_nova(const Vm& vm) { return to_nova_of(vm, nullptr); }

Rendered to_nova_of(const Vm& asked, const policy::CpuMap* map) {
  Rendered rendered;
  Vm vm = as_qemu_runs(asked, rendered.losses);
  for (Loss& loss : to_libvirt_of(seen_by_libvirt(vm), map).losses) rendered.losses.push_back(std::move(loss));
  lose_uneven_nodes(vm, rendered.losses);
  if (asked.clock != Clock())
    rendered.losses.push_back(
        {clock_in_words(asked.clock), "Nova's instances have UTC, unless their image is Windows'", true});
  rendered.text = settings(vm, rendered.losses, map) + flavor(vm) + epc_fragment(seen_by_libvirt(vm)) + boot(vm);
  // A feature that libvirt has no word for was reported by both.
  Losses once;
  for (Loss& loss : rendered.losses)
    if (std::ranges::find(once, loss.what, &Loss::what) == once.end()) once.push_back(std::move(loss));
  rendered.losses = std::move(once);
  return rendered;
}

}  // namespace cloister::toolstack::vm
