// libvirt's domain XML (https://libvirt.org/formatdomain.html): <cpu>, <memory model='sgx-epc'>, and the arguments that
// <qemu:commandline> passes through (https://libvirt.org/drvqemu.html).
#include <fmt/format.h>

#include <string>

#include "arch/try.hpp"
#include "interop/lint/subject.hpp"
#include "interop/vm/libvirt_domain.hpp"
#include "interop/vm/libvirt_elements.hpp"
#include "text/shown.hpp"
#include "text/xml.hpp"

namespace cloister::toolstack::lint {

namespace {

std::string_view local_name(pugi::xml_node node) {
  const std::string_view name = node.name();
  return name.substr(name.find(':') + 1);  // npos + 1: the whole name
}

vm::CpuMode mode_of(pugi::xml_node cpu) {
  const std::string_view mode = cpu.attribute("mode").value();
  if (mode == "host-model") return vm::CpuMode::host_model;
  if (mode == "host-passthrough") return vm::CpuMode::host_passthrough;
  if (mode == "maximum") return vm::CpuMode::maximum;
  return cpu.child("model") ? vm::CpuMode::custom : vm::CpuMode::unspecified;
}

CpuChoice read_cpu(const xml::Document& document, pugi::xml_node cpu) {
  CpuChoice choice{.mode = mode_of(cpu), .model = cpu.child_value("model"), .at = document.position_of(cpu)};
  for (const pugi::xml_node feature : cpu.children("feature")) {
    const std::string_view policy = feature.attribute("policy").as_string("require");
    choice.flags.push_back(make_flag(feature.attribute("name").value(), policy::Tool::libvirt,
                                     policy != "disable" && policy != "forbid", document.position_of(feature)));
  }
  return choice;
}

std::size_t count_of(pugi::xml_node parent, const char* name) {
  std::size_t count = 0;
  for ([[maybe_unused]] const pugi::xml_node child : parent.children(name)) ++count;
  return count;
}

/// Sizes and nodes of a domain's memory, as vm/ reads them, and those that libvirt refuses.
class Memory {
 public:
  Memory(const xml::Document& document, pugi::xml_node domain) : document_(document), domain_(domain) {}

  void read(Subject& subject) {
    Room room;
    if (const pugi::xml_node most = domain_.child("maxMemory")) {
      room.at = document_.position_of(most);
      room.kib = kib_of(most, most.child_value());
      room.slots = xml::number(most.attribute("slots").value()).value_or(0);
    }
    for (const pugi::xml_node cell : domain_.child("cpu").child("numa").children("cell")) {
      room.ram_kib += kib_of(cell, cell.attribute("memory").value(), 0);
      room.cells = true;
      ++cells_;
    }
    for (const pugi::xml_node device : domain_.child("devices").children("memory")) {
      const u64 kib = device_kib(device);
      room.devices_kib += kib;
      ++room.devices;
      if (std::string_view(device.attribute("model").value()) == "sgx-epc") subject.epc.push_back(section(device, kib));
    }
    const pugi::xml_node memory = domain_.child("memory");
    if (!room.cells && memory) {
      const u64 all = kib_of(memory, memory.child_value());
      if (all > room.devices_kib) room.ram_kib = all - room.devices_kib;
    }
    subject.room = room;
    if (!subject.epc.empty()) subject.refused = std::move(refused_);
  }

 private:
  void refuse(pugi::xml_node at, const std::string& what, std::string mend) {
    refused_.push_back({document_.position_of(at), "libvirt refuses the domain: " + what, std::move(mend)});
  }

  /// A size in KiB, of an element's text or an attribute's; 0 for what is none.
  u64 kib_of(pugi::xml_node node, std::string_view text, u64 least = 1) {
    const auto kib = vm::LibvirtElements::kib_of(node, text, least);
    if (!kib)
      refuse(node, fmt::format("{}: {}", shown(node.name()), kib.error()),
             "write a size such as <size unit='MiB'>64</size>");
    return kib.value_or(0);
  }

  u64 device_kib(pugi::xml_node device) {
    const pugi::xml_node size = device.child("target").child("size");
    if (size) return kib_of(size, vm::LibvirtElements::text_of(size));
    refuse(device, "'memory' has no 'size' in a 'target'", "write <target><size unit='MiB'>64</size></target> in it");
    return 0;
  }

  EpcSection section(pugi::xml_node device, u64 kib) {
    const pugi::xml_node node = device.child("target").child("node");
    if (node) {
      const std::string text = vm::LibvirtElements::text_of(node);
      const auto number = xml::number(text);
      const std::string mend = "write the number of a cell of <numa>, from 0 on";
      if (!number)
        refuse(node, fmt::format("'node': found {}, expected a number", shown(text)), mend);
      else if (cells_ != 0 && *number >= cells_)
        refuse(node, fmt::format("EPC in node {}, but 'numa' has {} cells", *number, cells_), mend);
    }
    return {.at = document_.position_of(device),
            .kib = kib,
            .on_host_nodes = !device.child("source").child("nodemask").empty(),
            .on_guest_node = !node.empty()};
  }

  const xml::Document& document_;
  pugi::xml_node domain_;
  u64 cells_ = 0;
  std::vector<Refused> refused_;
};

}  // namespace

tl::expected<Subject, Diagnostic> read_libvirt(std::string_view text) {
  const auto document = xml::Document::parse(text);
  if (!document) return tl::unexpected(document.error());
  const auto found = TRY(vm::find_domain(*document));
  const pugi::xml_node domain = found;
  const std::string_view arch = domain.child("os").child("type").attribute("arch").as_string("x86_64");
  if (arch != "x86_64" && arch != "i686")
    return document->error(domain.child("os").child("type"),
                           "found arch " + shown(arch) + ", expected x86_64: SGX is a matter of Intel's processors");
  Subject subject{.format = Format::libvirt};
  if (const std::string_view type = domain.attribute("type").value(); !type.empty() && type != "kvm")
    subject.without_kvm = {document->position_of(domain), fmt::format("<domain type={}>", shown(type)),
                           "write <domain type='kvm'>"};
  if (const pugi::xml_node cpu = domain.child("cpu")) {
    subject.cpus.push_back(read_cpu(*document, cpu));
    subject.guest_numa = count_of(cpu.child("numa"), "cell") > 1;
  }
  Memory(*document, domain).read(subject);
  if (const pugi::xml_node old = domain.child("features").child("sgx"))
    subject.old_words.emplace_back(document->position_of(old), old_libvirt_sgx);
  std::vector<vm::Word> arguments;
  for (const pugi::xml_node child : domain.children()) {
    if (local_name(child) != "commandline") continue;
    for (const pugi::xml_node argument : child.children())
      if (local_name(argument) == "arg")
        arguments.push_back({argument.attribute("value").value(), document->position_of(argument)});
  }
  add_arguments(subject, arguments);
  return subject;
}

}  // namespace cloister::toolstack::lint
