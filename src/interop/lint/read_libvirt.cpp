// libvirt's domain XML (https://libvirt.org/formatdomain.html): <cpu>, <memory model='sgx-epc'>, and the arguments that
// <qemu:commandline> passes through (https://libvirt.org/drvqemu.html).
#include <string>

#include "interop/lint/subject.hpp"
#include "interop/vm/libvirt_domain.hpp"
#include "interop/vm/sizes.hpp"
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

/// A size in KiB, of an element's text or an attribute's; 0 for what is none.
u64 kib_of(pugi::xml_node node, std::string_view text) {
  const auto unit = vm::bytes_of_unit(node.attribute("unit").as_string("KiB"));
  const auto count = xml::number(text);
  return unit && count ? vm::in_kib(*count, *unit).value_or(0) : 0;
}

Room read_room(const xml::Document& document, pugi::xml_node domain) {
  Room room;
  if (const pugi::xml_node most = domain.child("maxMemory")) {
    room.at = document.position_of(most);
    room.kib = kib_of(most, most.child_value());
    room.slots = xml::number(most.attribute("slots").value()).value_or(0);
  }
  for (const pugi::xml_node device : domain.child("devices").children("memory")) {
    const pugi::xml_node size = device.child("target").child("size");
    room.devices_kib += kib_of(size, size.child_value());
    ++room.devices;
  }
  for (const pugi::xml_node cell : domain.child("cpu").child("numa").children("cell")) {
    room.ram_kib += kib_of(cell, cell.attribute("memory").value());
    room.cells = true;
  }
  const pugi::xml_node memory = domain.child("memory");
  const u64 all = kib_of(memory, memory.child_value());
  if (!room.cells && all > room.devices_kib) room.ram_kib = all - room.devices_kib;
  return room;
}

}  // namespace

tl::expected<Subject, Diagnostic> read_libvirt(std::string_view text) {
  const auto document = xml::Document::parse(text);
  if (!document) return tl::unexpected(document.error());
  const auto found = vm::find_domain(*document);
  if (!found) return tl::unexpected(found.error());
  const pugi::xml_node domain = *found;
  const std::string_view arch = domain.child("os").child("type").attribute("arch").as_string("x86_64");
  if (arch != "x86_64" && arch != "i686")
    return document->error(domain.child("os").child("type"),
                           "found arch " + shown(arch) + ", expected x86_64: SGX is a matter of Intel's processors");
  Subject subject{.format = Format::libvirt};
  if (std::string_view(domain.attribute("type").value()) == "qemu")
    subject.without_kvm = {document->position_of(domain), "<domain type='qemu'>", "write <domain type='kvm'>"};
  if (const pugi::xml_node cpu = domain.child("cpu")) {
    subject.cpus.push_back(read_cpu(*document, cpu));
    subject.guest_numa = count_of(cpu.child("numa"), "cell") > 1;
  }
  for (const pugi::xml_node memory : domain.child("devices").children("memory")) {
    if (std::string_view(memory.attribute("model").value()) != "sgx-epc") continue;
    const pugi::xml_node size = memory.child("target").child("size");
    subject.epc.push_back({.at = document->position_of(memory),
                           .kib = kib_of(size, size.child_value()),
                           .on_host_nodes = !memory.child("source").child("nodemask").empty(),
                           .on_guest_node = !memory.child("target").child("node").empty()});
  }
  if (const pugi::xml_node old = domain.child("features").child("sgx"))
    subject.old_words.emplace_back(document->position_of(old), old_libvirt_sgx);
  subject.room = read_room(*document, domain);
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
