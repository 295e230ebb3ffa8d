// OpenStack Nova (nova/conf/libvirt.py, https://docs.openstack.org/nova/latest/admin/cpu-models.html): the processor is
// a matter of the compute host's nova.conf, sizes are one of the flavor. Nova drives libvirt: what it has no word for,
// and libvirt has, is given as libvirt's XML. All but the settings are comments, so that the text is a nova.conf.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "toolstack/shown.hpp"
#include "toolstack/vm/formats.hpp"
#include "toolstack/vm/spoken.hpp"
#include "toolstack/xml.hpp"

namespace cloister::toolstack::vm {

namespace {

using Losses = std::vector<Loss>;

/// Each line of the text as one of a comment, without what a terminal would obey.
std::string comment(const std::string& text) {
  std::string result;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::ranges::replace_if(
        line, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, ' ');
    result += line.empty() ? "#\n" : fmt::format("# {}\n", line);
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
      if (is_name(cpu.model))
        return fmt::format(
            "cpu_mode = custom\ncpu_models = {0}\n# the same before Nova 20 (Train):\n# cpu_model = {0}\n", cpu.model);
      losses.push_back({"CPU model " + shown(cpu.model), "it is no name of a CPU model"});
      break;
  }
  return {};
}

/// `flag` enables and `-flag` disables; with no word for libvirt's other policies, the nearest is taken.
std::string flags_line(const Cpu& cpu, Losses& losses) {
  std::string flags;
  for (const SpokenFeature& feature : spoken(cpu, policy::Tool::libvirt, losses)) {
    if (feature.policy != FeaturePolicy::require && feature.policy != FeaturePolicy::disable)
      losses.push_back({fmt::format("policy '{}' of feature {}", word_of(feature.policy), feature.name),
                        "Nova can enable a flag or disable it"});
    if (feature.policy == FeaturePolicy::optional) continue;
    flags += fmt::format("{}{}{}", flags.empty() ? "" : ",", is_on(feature.policy) ? "" : "-", feature.name);
  }
  return flags.empty() ? "" : fmt::format("cpu_model_extra_flags = {}\n", flags);
}

std::string settings(const Vm& vm, Losses& losses) {
  std::string text =
      fmt::format("# nova.conf of a compute host\n[libvirt]\nvirt_type = {}\n", vm.type == "qemu" ? "qemu" : "kvm");
  if (is_name(vm.machine)) text += fmt::format("hw_machine_type = x86_64={}\n", vm.machine);
  return text + mode_lines(vm.cpu, losses) + flags_line(vm.cpu, losses);
}

// ------------------------------------------------------------------------------------------------ the flavor

bool wants_sgx(const Vm& vm) {
  return !vm.epc.empty() || std::ranges::any_of(vm.cpu.features, [](const CpuFeature& feature) {
    return feature.name == "sgx" && is_on(feature.policy);
  });
}

u32 guest_nodes(const Vm& vm) {
  u32 nodes = 0;
  for (const Epc& section : vm.epc)
    if (section.guest_node) nodes = std::max(nodes, *section.guest_node + 1);
  return nodes;
}

std::string flavor(const Vm& vm) {
  const std::string name = is_name(vm.name) ? vm.name : "FLAVOR";
  std::string text = fmt::format("openstack flavor create --ram {} --vcpus {} --disk 0 {}\n",
                                 (vm.memory_kib + 1023) / 1024, vm.vcpus, name);
  std::string properties;
  if (wants_sgx(vm)) properties += " --property trait:HW_CPU_X86_SGX=required";
  if (guest_nodes(vm) > 0) properties += fmt::format(" --property hw:numa_nodes={}", guest_nodes(vm));
  if (!properties.empty()) text += fmt::format("openstack flavor set{} {}\n", properties, name);
  std::string intro = "The flavor.";
  if (wants_sgx(vm))
    intro +=
        " Nova does not find out which hosts have the trait:\nopenstack resource provider trait set gives it to them.";
  return fmt::format("\n{}{}", comment(intro), comment(text));
}

// ------------------------------------------------------------------------------------------------ EPC, boot

/// What the libvirt renderer has for the EPC.
std::string epc_fragment(const Vm& vm) {
  if (vm.epc.empty()) return {};
  const auto document = xml::Document::parse(to_libvirt(vm).text);
  if (!document) return {};
  std::ostringstream fragment;
  const auto print = [&](pugi::xml_node node) {
    node.print(fragment, "  ", pugi::format_default | pugi::format_no_declaration);
  };
  if (const auto most = document->root().child("maxMemory")) print(most);
  for (const pugi::xml_node memory : document->root().child("devices").children("memory")) print(memory);
  constexpr const char* intro =
      "EPC, for which Nova has no word: elements of libvirt's <devices>. virsh edit adds them to an instance\n"
      "that is shut off; Nova writes the XML anew when it rebuilds, resizes, migrates or hard-reboots it.";
  return fmt::format("\n{}{}", comment(intro), comment(fragment.str()));
}

std::string boot(const Vm& vm) {
  if (vm.kernel.empty()) return {};
  std::string text =
      fmt::format("Booting is the image's: its properties kernel_id and ramdisk_id name images of\n{}\n", vm.kernel);
  if (!vm.ramdisk.empty()) text += fmt::format("{}\n", vm.ramdisk);
  if (!vm.cmdline.empty()) text += fmt::format("and os_command_line is\n{}\n", vm.cmdline);
  return fmt::format("\n{}", comment(text));
}

/// Nova divides RAM and processors evenly among NUMA nodes; a node without them cannot be had.
void lose_uneven_nodes(Vm& vm, Losses& losses) {
  const u32 nodes = guest_nodes(vm);
  if (nodes == 0 || (vm.vcpus % nodes == 0 && vm.memory_kib / 1024 % nodes == 0)) return;
  losses.push_back({fmt::format("{} guest NUMA nodes of the EPC", nodes),
                    "Nova divides processors and RAM evenly among nodes, and these cannot be divided so"});
  for (Epc& section : vm.epc) section.guest_node.reset();
}

}  // namespace

Rendered to_nova(const Vm& asked) {
  Vm vm = asked;
  Rendered rendered;
  rendered.losses = to_libvirt(asked).losses;
  lose_uneven_nodes(vm, rendered.losses);
  rendered.text = settings(vm, rendered.losses) + flavor(vm) + epc_fragment(vm) + boot(vm);
  // A feature that libvirt has no word for was reported by both.
  Losses once;
  for (Loss& loss : rendered.losses)
    if (std::ranges::find(once, loss.what, &Loss::what) == once.end()) once.push_back(std::move(loss));
  rendered.losses = std::move(once);
  return rendered;
}

}  // namespace cloister::toolstack::vm
