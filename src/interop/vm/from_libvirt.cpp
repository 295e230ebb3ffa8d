// Reading libvirt's domain XML (https://libvirt.org/formatdomain.html): a function an element; <cpu> is in
// libvirt_cpu.cpp. What libvirt adds to any
// domain by itself is passed over in silence; what else a Vm has no place for is told as ignored.
#include <fmt/format.h>

#include <algorithm>

#include "arch/try.hpp"
#include "interop/vm/clock.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/libvirt_cpu.hpp"
#include "interop/vm/libvirt_domain.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/qemu_memory.hpp"
#include "interop/vm/sizes.hpp"
#include "interop/vm/uuid.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"
#include "text/xml.hpp"

namespace cloister::toolstack::vm {

namespace {

using Node = pugi::xml_node;

constexpr u64 least_kib = 1024;

constexpr std::string_view silent_in_domain[] = {"on_poweroff",   "on_reboot", "on_crash",   "pm",
                                                 "currentMemory", "title",     "description"};
constexpr std::string_view silent_in_os[] = {"boot"};
constexpr std::string_view silent_in_features[] = {"acpi", "apic", "pae"};
constexpr std::string_view silent_in_devices[] = {"controller", "input", "memballoon", "serial",
                                                  "console",    "audio", "watchdog"};

/// The prefix of <qemu:commandline> is the document's own.
std::string_view local_name(Node node) {
  const std::string_view name = node.name();
  return name.substr(name.find(':') + 1);  // npos + 1: the whole name
}

class LibvirtReader {
 public:
  explicit LibvirtReader(xml::Document document) : in_(std::move(document)) {}

  tl::expected<ReadVm, Diagnostic> domain() {
    const auto found = TRY(find_domain(in_.document()));
    domain(found);
    if (in_.error()) return tl::unexpected(*in_.error());
    return ReadVm{std::move(vm_), in_.take_ignored()};
  }

 private:
  void domain(Node root) {
    vm_.type = root.attribute("type").value();
    if (vm_.type != "kvm" && vm_.type != "qemu") in_.wrong(root, "'type' of 'domain'", vm_.type, "'kvm' or 'qemu'");
    for (const Node node : root.children()) {
      if (node.type() == pugi::node_element) element(node);
    }
    if (vm_.name.empty()) in_.fail(root, "the element 'name' is missing");
    if (vm_.machine.empty()) vm_.machine = "pc";  // libvirt's, where nothing is said
    settle_memory(root);
    settle_arguments();
    if (!in_.error() && has_no_epc(vm_.machine) && !vm_.epc.empty())
      return in_.fail(Diagnostic{vm_.epc.front().at, no_epc_on(vm_.machine)});
    settle_nodes();
  }

  void element(Node node) {
    const std::string_view name = node.name();
    if (name == "name") return in_.text(node, vm_.name);
    if (name == "uuid") return uuid(node);
    if (name == "memory") return memory(node, memory_, memory_kib_);
    if (name == "maxMemory") return memory(node, most_memory_, most_memory_kib_);
    if (name == "vcpu") return vcpus(node);
    if (name == "os") return os(node);
    if (name == "features") return in_.ignore_all_but(node, silent_in_features);
    if (name == "cpu") return cpu(node);
    if (name == "clock") return clock(node);
    if (name == "devices") return devices(node);
    if (local_name(node) == "commandline") return commandline(node);
    if (!among(name, silent_in_domain)) in_.ignore(node);
  }

  void uuid(Node node) {
    std::string written;
    in_.text(node, written);
    const auto uuid = uuid_of(written);
    if (!uuid) return in_.wrong(node, "'uuid'", written, "32 hexadecimal digits");
    vm_.uuid = *uuid;
  }

  void memory(Node node, Node& where, u64& kib) {
    if (where) in_.fail(node, fmt::format("{} is there twice", shown(node.name())));
    where = node;
    kib = in_.size(node, in_.text_of(node));
  }

  void vcpus(Node node) {
    vm_.vcpus = static_cast<u32>(in_.number(node, in_.text_of(node), 1, most_vcpus));
    if (const pugi::xml_attribute current = node.attribute("current");
        current && xml::number(current.value()) != u64{vm_.vcpus}) {
      in_.ignore(node, "'current' of 'vcpu' is ignored: all processors are there from the start");
    }
  }

  void os(Node parent) {
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      const std::string_view name = node.name();
      if (name == "type") {
        if (in_.text_of(node) != "hvm") in_.wrong(node, "'type' of 'os'", in_.text_of(node), "'hvm'");
        const pugi::xml_attribute arch = node.attribute("arch");
        if (arch && std::string_view(arch.value()) == "i686") {
          in_.ignore(node, "arch='i686' is ignored: the processor has its 64-bit mode");
        } else if (arch && std::string_view(arch.value()) != "x86_64") {
          in_.wrong(node, "'arch'", arch.value(), "'x86_64' or 'i686'");
        }
        vm_.machine = node.attribute("machine").value();
        if (!vm_.machine.empty() && !is_word(vm_.machine))
          in_.wrong(node, "'machine'", vm_.machine, "a machine's name");
      } else if (name == "kernel") {
        in_.text(node, vm_.kernel);
      } else if (name == "initrd") {
        in_.text(node, vm_.ramdisk);
      } else if (name == "cmdline") {
        in_.text(node, vm_.cmdline);
      } else if (!among(name, silent_in_os)) {
        in_.ignore(node);
      }
    }
  }

  void cpu(Node node) {
    if (cpu_) return in_.fail(node, "'cpu' is there twice");
    cpu_ = node;
    LibvirtCpu read = read_libvirt_cpu(in_, node);
    vm_.cpu = std::move(read.cpu);
    vm_.provision = read.provision;
    numa_ = read.numa;
    cells_ = std::move(read.cells);
  }

  /// Its timers are passed over, as is all that libvirt adds.
  void clock(Node node) {
    const std::string_view offset = node.attribute("offset").value();
    const bool variable = offset == "variable";
    if (offset == "timezone" || offset == "absolute")
      return in_.ignore(node, fmt::format("offset={} of 'clock' is ignored: the clock has UTC", shown(offset)));
    if (!variable && offset != "utc" && offset != "localtime" && !offset.empty()) {
      return in_.wrong(node, "'offset' of 'clock'", offset, "'utc', 'localtime', 'variable', 'timezone' or 'absolute'");
    }
    const std::string_view base = variable ? node.attribute("basis").as_string("utc") : offset;
    if (variable && base != "utc" && base != "localtime")
      return in_.wrong(node, "'basis' of 'clock'", base, "'utc' or 'localtime'");
    const std::string_view adjustment = node.attribute("adjustment").as_string("0");
    // What the guest made of it in the meantime is forgotten.
    const auto ahead = adjustment == "reset" && !variable ? std::optional<i64>(0) : read_seconds(adjustment);
    if (!ahead) return in_.wrong(node, "'adjustment' of 'clock'", adjustment, "seconds, such as '-3600'");
    vm_.clock = {.localtime = base == "localtime", .ahead = *ahead};
  }

  // ------------------------------------------------------------------------------------------------ devices

  void devices(Node parent) {
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      const std::string_view name = node.name();
      if (name == "emulator") {
        in_.text(node, vm_.emulator);
      } else if (name == "memory") {
        memory_device(node);
      } else if (!among(name, silent_in_devices)) {
        in_.ignore(node);
      }
    }
  }

  void memory_device(Node device) {
    const Node target = device.child("target"), in_kib = target.child("size");
    if (!in_kib) return in_.fail(device, "'memory' has no 'size' in a 'target'");
    const u64 kib = in_.size(in_kib, in_.text_of(in_kib));
    devices_kib_ += kib;
    const std::string_view model = device.attribute("model").value();
    if (model != "sgx-epc") return in_.ignore(device, fmt::format("a memory device {} is ignored", shown(model)));
    Epc epc{.kib = kib, .host_nodes = {}, .guest_node = std::nullopt, .at = in_.position_of(device)};
    if (const Node node = target.child("node"))
      epc.guest_node = static_cast<u32>(in_.number(node, in_.text_of(node), 0, most_guest_nodes - 1));
    if (const Node mask = device.child("source").child("nodemask")) {
      auto nodes = read_nodes(in_.text_of(mask));
      if (!nodes || nodes->empty())
        return in_.wrong(mask, "'nodemask'", in_.text_of(mask), "NUMA nodes such as '0-1,4'");
      epc.host_nodes = std::move(*nodes);
    }
    if (const Node page = device.child("source").child("pagesize")) in_.ignore(page);
    if (vm_.epc.size() == most_sections)
      return in_.fail(device, fmt::format("EPC has {} sections at most", most_sections));
    vm_.epc.push_back(std::move(epc));
  }

  void commandline(Node parent) {
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      if (local_name(node) != "arg") {
        in_.ignore(node);
        continue;
      }
      arguments_.emplace_back(node.attribute("value").value());
      argument_nodes_.push_back(node);
    }
  }

  // ------------------------------------------------------------------------------------------------ in the end

  /// Memory devices, EPC among them, are part of what 'memory' says. Cells count more: they are RAM alone.
  void settle_memory(Node root) {
    if (in_.error()) return;
    if (!cells_.empty()) {
      for (const GuestNode& cell : cells_) vm_.memory_kib += cell.kib;
    } else if (!memory_) {
      return in_.fail(root, "the element 'memory' is missing");
    } else if (memory_kib_ <= devices_kib_) {
      return in_.fail(memory_,
                      fmt::format("'memory': found {} KiB, expected more than the {} KiB of the memory devices, "
                                  "which are part of it",
                                  memory_kib_, devices_kib_));
    } else {
      vm_.memory_kib = memory_kib_ - devices_kib_;
    }
    if (vm_.memory_kib < least_kib)
      in_.fail(memory_ ? memory_ : root,
               fmt::format("found {} KiB of RAM, expected {} at least", vm_.memory_kib, least_kib));
    if (vm_.memory_kib + epc_kib(vm_) > most_kib)
      in_.fail(memory_ ? memory_ : root, fmt::format("found more than {} KiB of RAM and EPC", most_kib));
    if (most_memory_kib_ > vm_.memory_kib + devices_kib_)
      in_.ignore(most_memory_, "'maxMemory' is ignored: no memory is added while the domain runs");
  }

  /// QEMU gets them behind libvirt's own: what they say of processor and EPC is the domain's.
  void settle_arguments() {
    if (in_.error() || arguments_.empty()) return;
    const Cpu of_xml = std::exchange(vm_.cpu, Cpu());
    const std::size_t sections = vm_.epc.size();
    auto read = with_arguments(std::move(vm_), !cells_.empty(), arguments_);
    const auto place = [&](Position at) { return at.line == 0 ? at : in_.position_of(argument_nodes_[at.line - 1]); };
    if (!read) {
      return in_.fail(Diagnostic{place(read.error().at), std::move(read.error().message)});
    }
    vm_ = std::move(read->vm);
    for (Diagnostic& ignored : read->ignored) in_.ignore(Diagnostic{place(ignored.at), std::move(ignored.message)});
    for (std::size_t i = sections; i < vm_.epc.size(); ++i) vm_.epc[i].at = place(vm_.epc[i].at);
    if (vm_.cpu.mode == CpuMode::unspecified) {
      vm_.cpu = of_xml;
      return;
    }
    for (CpuFeature& feature : vm_.cpu.features) feature.at = place(feature.at);
    if (of_xml != Cpu()) in_.ignore(cpu_, "what 'cpu' says of the processor is ignored: a '-cpu' takes its place");
  }

  void settle_nodes() {
    if (in_.error()) return;
    for (const Epc& epc : vm_.epc) {
      if (cells_.empty() && epc.guest_node.value_or(0) > 0)
        return in_.fail(Diagnostic{epc.at, fmt::format("EPC in node {}, but there is no 'numa'", *epc.guest_node)});
    }
    if (cells_.empty()) return;
    for (const Epc& epc : vm_.epc) {
      if (epc.guest_node.value_or(0) < cells_.size()) continue;
      return in_.fail(
          Diagnostic{epc.at, fmt::format("EPC in node {}, but 'numa' has {} cells", *epc.guest_node, cells_.size())});
    }
    for (const GuestNode& cell : cells_) {
      if (!cell.cpus.empty() && cell.cpus.back() >= vm_.vcpus)
        return in_.fail(numa_,
                        fmt::format("'numa' has processor {}, expected {} at most", cell.cpus.back(), vm_.vcpus - 1));
    }
    if (const auto twice = cpu_in_two(cells_))
      return in_.fail(numa_, fmt::format("the processor {} is in two cells", *twice));
    if (cells_.size() == 1 && cells_.front().cpus.empty()) cells_.front().cpus = guest_nodes(vm_).front().cpus;
    if (cells_ != guest_nodes(vm_)) vm_.nodes = cells_;
  }

  LibvirtElements in_;
  Vm vm_;
  Node cpu_, numa_, memory_, most_memory_;
  u64 memory_kib_ = 0, most_memory_kib_ = 0, devices_kib_ = 0;
  std::vector<GuestNode> cells_;
  std::vector<std::string> arguments_;  ///< of <qemu:commandline>
  std::vector<Node> argument_nodes_;
};

}  // namespace

tl::expected<ReadVm, Diagnostic> from_libvirt(std::string_view text) {
  auto document = TRY(xml::Document::parse(text));
  return LibvirtReader(std::move(document)).domain();
}

}  // namespace cloister::toolstack::vm
