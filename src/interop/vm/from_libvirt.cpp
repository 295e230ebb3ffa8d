// Reading libvirt's domain XML (https://libvirt.org/formatdomain.html): a function an element. What libvirt adds to any
// domain by itself is passed over in silence; what else a Vm has no place for is told as ignored.
#include <fmt/format.h>

#include <algorithm>

#include "interop/vm/among.hpp"
#include "interop/vm/clock.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/nodes.hpp"
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

/// Indices are those of the enumerations.
constexpr std::string_view policies[] = {"force", "require", "optional", "disable", "forbid"};
constexpr std::string_view modes[] = {"", "custom", "host-model", "host-passthrough", "maximum"};

/// The prefix of <qemu:commandline> is the document's own.
std::string_view local_name(Node node) {
  const std::string_view name = node.name();
  return name.substr(name.find(':') + 1);  // npos + 1: the whole name
}

/// All text directly in the element.
std::string text_of(Node node) {
  std::string text;
  for (const Node child : node.children()) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) text += child.value();
  }
  return text;
}

class LibvirtReader {
 public:
  explicit LibvirtReader(xml::Document document) : document_(std::move(document)) {}

  tl::expected<ReadVm, Diagnostic> domain() {
    const Node root = document_.root();
    if (std::string_view(root.name()) != "domain") {
      fail(root, fmt::format("found the element {}, expected 'domain'", shown(root.name())));
    } else if (const Node second = root.next_sibling("domain")) {
      fail(second, "found a second <domain>, expected one in a file");
    } else {
      domain(root);
    }
    if (error_) return tl::unexpected(std::move(*error_));
    std::ranges::stable_sort(read_.ignored, {}, [](const Diagnostic& d) { return std::pair(d.at.line, d.at.column); });
    return std::move(read_);
  }

 private:
  Vm& vm() { return read_.vm; }

  /// The first error counts.
  void fail(Node at, const std::string& message) {
    if (!error_) error_ = Diagnostic{document_.position_of(at), message};
  }
  void wrong(Node at, std::string_view what, std::string_view found, std::string_view expected) {
    fail(at, fmt::format("{}: found {}, expected {}", what, shown(found), expected));
  }
  void ignore(Node node, const std::string& message) {
    read_.ignored.push_back({document_.position_of(node), message});
  }
  void ignore(Node node) {
    ignore(node, fmt::format("{} in {} is ignored", shown(node.name()), shown(node.parent().name())));
  }

  /// Text, and no two of the same.
  void text(Node node, std::string& to) {
    if (!to.empty()) fail(node, fmt::format("{} is there twice", shown(node.name())));
    to = text_of(node);
  }

  u64 number(Node node, std::string_view text, u64 least, u64 most) {
    const auto value = xml::number(text);
    if (value && *value >= least && *value <= most) return *value;
    wrong(node, shown(node.name()), text, fmt::format("a number from {} to {}", least, most));
    return least;
  }

  /// A scaled integer in KiB; 0 after an error.
  u64 size(Node node, std::string_view text) {
    const pugi::xml_attribute attribute = node.attribute("unit");
    const auto unit = bytes_of_unit(attribute ? attribute.value() : "KiB");
    if (!unit) {
      wrong(node, shown(node.name()), attribute.value(), "a unit such as 'KiB', 'MiB' or 'GiB'");
      return 0;
    }
    const auto count = xml::number(text);
    const auto kib = count ? in_kib(*count, *unit) : std::nullopt;
    if (kib && *kib > 0) return *kib;
    wrong(node, shown(node.name()), text, fmt::format("a size from 1 to {} KiB", most_kib));
    return 0;
  }

  void domain(Node root) {
    vm().type = root.attribute("type").value();
    if (vm().type != "kvm" && vm().type != "qemu") wrong(root, "'type' of 'domain'", vm().type, "'kvm' or 'qemu'");
    for (const Node node : root.children()) {
      if (node.type() == pugi::node_element) element(node);
    }
    if (vm().name.empty()) fail(root, "the element 'name' is missing");
    if (vm().machine.empty()) vm().machine = "pc";  // libvirt's, where nothing is said
    settle_memory(root);
    settle_arguments();
    settle_nodes();
  }

  void element(Node node) {
    const std::string_view name = node.name();
    if (name == "name") return text(node, vm().name);
    if (name == "uuid") return uuid(node);
    if (name == "memory") return memory(node, memory_, memory_kib_);
    if (name == "maxMemory") return memory(node, most_memory_, most_memory_kib_);
    if (name == "vcpu") return vcpus(node);
    if (name == "os") return os(node);
    if (name == "features") return all_but(node, silent_in_features);
    if (name == "cpu") return cpu(node);
    if (name == "clock") return clock(node);
    if (name == "devices") return devices(node);
    if (local_name(node) == "commandline") return commandline(node);
    if (!among(name, silent_in_domain)) ignore(node);
  }

  template <std::size_t n>
  void all_but(Node parent, const std::string_view (&silent)[n]) {
    for (const Node node : parent.children()) {
      if (node.type() == pugi::node_element && !among(node.name(), silent)) ignore(node);
    }
  }

  void uuid(Node node) {
    std::string written;
    text(node, written);
    const auto uuid = uuid_of(written);
    if (!uuid) return wrong(node, "'uuid'", written, "32 hexadecimal digits");
    vm().uuid = *uuid;
  }

  void memory(Node node, Node& where, u64& kib) {
    if (where) fail(node, fmt::format("{} is there twice", shown(node.name())));
    where = node;
    kib = size(node, text_of(node));
  }

  void vcpus(Node node) {
    vm().vcpus = static_cast<u32>(number(node, text_of(node), 1, most_vcpus));
    if (const pugi::xml_attribute current = node.attribute("current");
        current && xml::number(current.value()) != u64{vm().vcpus}) {
      ignore(node, "'current' of 'vcpu' is ignored: all processors are there from the start");
    }
  }

  void os(Node parent) {
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      const std::string_view name = node.name();
      if (name == "type") {
        if (text_of(node) != "hvm") wrong(node, "'type' of 'os'", text_of(node), "'hvm'");
        const pugi::xml_attribute arch = node.attribute("arch");
        if (arch && std::string_view(arch.value()) == "i686") {
          ignore(node, "arch='i686' is ignored: the processor has its 64-bit mode");
        } else if (arch && std::string_view(arch.value()) != "x86_64") {
          wrong(node, "'arch'", arch.value(), "'x86_64' or 'i686'");
        }
        vm().machine = node.attribute("machine").value();
        if (!vm().machine.empty() && !is_word(vm().machine)) wrong(node, "'machine'", vm().machine, "a machine's name");
      } else if (name == "kernel") {
        text(node, vm().kernel);
      } else if (name == "initrd") {
        text(node, vm().ramdisk);
      } else if (name == "cmdline") {
        text(node, vm().cmdline);
      } else if (!among(name, silent_in_os)) {
        ignore(node);
      }
    }
  }

  // ------------------------------------------------------------------------------------------------ the CPU

  void cpu(Node parent) {
    if (cpu_) return fail(parent, "'cpu' is there twice");
    cpu_ = parent;
    const std::string_view mode = parent.attribute("mode").value();
    const auto* const found = std::ranges::find(modes, mode);
    if (found == std::end(modes)) {
      return wrong(parent, "'mode' of 'cpu'", mode, "'custom', 'host-model', 'host-passthrough' or 'maximum'");
    }
    vm().cpu.mode = static_cast<CpuMode>(found - std::begin(modes));
    if (const pugi::xml_attribute match = parent.attribute("match");
        match && std::string_view(match.value()) != "exact") {
      vm().cpu.strict = std::string_view(match.value()) == "strict";
      ignore(parent, fmt::format("match={} of 'cpu' is ignored: the model counts as it is", shown(match.value())));
    }
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      const std::string_view name = node.name();
      if (name == "model") {
        text(node, vm().cpu.model);
        // libvirt writes <model fallback='allow'/> for host-model.
        if (!vm().cpu.model.empty() && !is_word(vm().cpu.model))
          wrong(node, "'model' of 'cpu'", vm().cpu.model, "a model's name");
      } else if (name == "arch") {
        if (const std::string arch = text_of(node); arch != "x86_64" && arch != "i686")
          wrong(node, "'arch' of 'cpu'", arch, "'x86_64' or 'i686'");
      } else if (name == "vendor") {
        vm().cpu.vendor = text_of(node);
        ignore(node);
      } else if (name == "feature") {
        feature(node);
      } else if (name == "numa") {
        cells(node);
      } else {
        ignore(node);
      }
    }
    settle_mode(parent);
  }

  /// Without a mode, a model is meant if there is one.
  void settle_mode(Node node) {
    Cpu& cpu = vm().cpu;
    if (cpu.mode == CpuMode::unspecified && !cpu.model.empty()) cpu.mode = CpuMode::custom;
    if (cpu.mode == CpuMode::custom && cpu.model.empty()) fail(node, "'cpu' has mode 'custom' and no 'model'");
    // libvirt writes the model that `host-model` became in a domain that runs.
    if (cpu.mode != CpuMode::custom) cpu.model.clear();
  }

  void feature(Node node) {
    const std::string_view word = node.attribute("name").value(), policy = node.attribute("policy").value();
    if (!is_word(word)) return wrong(node, "'name' of 'feature'", word, "a CPU feature's name");
    CpuFeature feature{.name = name_of_word(word, policy::Tool::libvirt), .at = document_.position_of(node)};
    if (node.attribute("policy")) {
      const auto* const found = std::ranges::find(policies, policy);
      if (found == std::end(policies)) {
        return wrong(node, "'policy' of 'feature'", policy, "'force', 'require', 'optional', 'disable' or 'forbid'");
      }
      feature.policy = static_cast<FeaturePolicy>(found - std::begin(policies));
    }
    std::vector<CpuFeature>& features = vm().cpu.features;
    if (std::ranges::find(features, feature.name, &CpuFeature::name) != features.end()) {
      return fail(node, fmt::format("the feature {} is there twice", shown(word)));
    }
    if (feature.name == "sgx-provisionkey") vm().provision = is_on(feature.policy);
    features.push_back(std::move(feature));
  }

  void cells(Node parent) {
    numa_ = parent;
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      if (std::string_view(node.name()) != "cell") {
        ignore(node);
        continue;
      }
      if (cells_.size() == most_guest_nodes)
        return fail(node, fmt::format("'numa' has {} cells at most", most_guest_nodes));
      GuestNode cell{.kib = size(node, node.attribute("memory").value())};
      if (const pugi::xml_attribute cpus = node.attribute("cpus")) {
        auto read = read_cpus(cpus.value());
        if (!read) return wrong(node, "'cpus' of 'cell'", cpus.value(), "processors such as '0-3'");
        cell.cpus = std::move(*read);
      }
      for (const Node inner : node.children()) {
        if (inner.type() == pugi::node_element) ignore(inner);
      }
      // Cells stand in any order of their numbers.
      u64 id = cells_.size();
      if (const pugi::xml_attribute said = node.attribute("id"))
        id = number(node, said.value(), 0, most_guest_nodes - 1);
      if (cells_.size() <= id) cells_.resize(id + 1);
      if (cells_[id].kib != 0) return fail(node, fmt::format("the cell {} is there twice", id));
      cells_[id] = std::move(cell);
    }
  }

  /// Its timers are passed over, as is all that libvirt adds.
  void clock(Node node) {
    const std::string_view offset = node.attribute("offset").value();
    const bool variable = offset == "variable";
    if (offset == "timezone" || offset == "absolute")
      return ignore(node, fmt::format("offset={} of 'clock' is ignored: the clock has UTC", shown(offset)));
    if (!variable && offset != "utc" && offset != "localtime" && !offset.empty()) {
      return wrong(node, "'offset' of 'clock'", offset, "'utc', 'localtime', 'variable', 'timezone' or 'absolute'");
    }
    const std::string_view base = variable ? node.attribute("basis").as_string("utc") : offset;
    if (variable && base != "utc" && base != "localtime")
      return wrong(node, "'basis' of 'clock'", base, "'utc' or 'localtime'");
    const std::string_view adjustment = node.attribute("adjustment").as_string("0");
    // What the guest made of it in the meantime is forgotten.
    const auto ahead = adjustment == "reset" && !variable ? std::optional<i64>(0) : read_seconds(adjustment);
    if (!ahead) return wrong(node, "'adjustment' of 'clock'", adjustment, "seconds, such as '-3600'");
    vm().clock = {.localtime = base == "localtime", .ahead = *ahead};
  }

  // ------------------------------------------------------------------------------------------------ devices

  void devices(Node parent) {
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      const std::string_view name = node.name();
      if (name == "emulator") {
        text(node, vm().emulator);
      } else if (name == "memory") {
        memory_device(node);
      } else if (!among(name, silent_in_devices)) {
        ignore(node);
      }
    }
  }

  void memory_device(Node device) {
    const Node target = device.child("target"), in_kib = target.child("size");
    if (!in_kib) return fail(device, "'memory' has no 'size' in a 'target'");
    const u64 kib = size(in_kib, text_of(in_kib));
    devices_kib_ += kib;
    const std::string_view model = device.attribute("model").value();
    if (model != "sgx-epc") return ignore(device, fmt::format("a memory device {} is ignored", shown(model)));
    Epc epc{.kib = kib, .host_nodes = {}, .guest_node = std::nullopt, .at = document_.position_of(device)};
    if (const Node node = target.child("node"))
      epc.guest_node = static_cast<u32>(number(node, text_of(node), 0, most_guest_nodes - 1));
    if (const Node mask = device.child("source").child("nodemask")) {
      auto nodes = read_nodes(text_of(mask));
      if (!nodes || nodes->empty()) return wrong(mask, "'nodemask'", text_of(mask), "NUMA nodes such as '0-1,4'");
      epc.host_nodes = std::move(*nodes);
    }
    if (const Node page = device.child("source").child("pagesize")) ignore(page);
    if (vm().epc.size() == most_sections)
      return fail(device, fmt::format("EPC has {} sections at most", most_sections));
    vm().epc.push_back(std::move(epc));
  }

  void commandline(Node parent) {
    for (const Node node : parent.children()) {
      if (node.type() != pugi::node_element) continue;
      if (local_name(node) != "arg") {
        ignore(node);
        continue;
      }
      arguments_.emplace_back(node.attribute("value").value());
      argument_nodes_.push_back(node);
    }
  }

  // ------------------------------------------------------------------------------------------------ in the end

  /// Memory devices, EPC among them, are part of what 'memory' says. Cells count more: they are RAM alone.
  void settle_memory(Node root) {
    if (error_) return;
    if (!cells_.empty()) {
      for (const GuestNode& cell : cells_) vm().memory_kib += cell.kib;
    } else if (!memory_) {
      return fail(root, "the element 'memory' is missing");
    } else if (memory_kib_ <= devices_kib_) {
      return fail(memory_, fmt::format("'memory': found {} KiB, expected more than the {} KiB of the memory devices, "
                                       "which are part of it",
                                       memory_kib_, devices_kib_));
    } else {
      vm().memory_kib = memory_kib_ - devices_kib_;
    }
    if (vm().memory_kib < least_kib)
      fail(memory_ ? memory_ : root,
           fmt::format("found {} KiB of RAM, expected {} at least", vm().memory_kib, least_kib));
    if (vm().memory_kib + epc_kib(vm()) > most_kib)
      fail(memory_ ? memory_ : root, fmt::format("found more than {} KiB of RAM and EPC", most_kib));
    if (most_memory_kib_ > vm().memory_kib + devices_kib_)
      ignore(most_memory_, "'maxMemory' is ignored: no memory is added while the domain runs");
  }

  /// QEMU gets them behind libvirt's own: what they say of processor and EPC is the domain's.
  void settle_arguments() {
    if (error_ || arguments_.empty()) return;
    const Cpu of_xml = std::exchange(vm().cpu, Cpu());
    const std::size_t sections = vm().epc.size();
    auto read = with_arguments(std::move(vm()), !cells_.empty(), arguments_);
    const auto place = [&](Position at) {
      return at.line == 0 ? at : document_.position_of(argument_nodes_[at.line - 1]);
    };
    if (!read) {
      error_ = Diagnostic{place(read.error().at), std::move(read.error().message)};
      return;
    }
    vm() = std::move(read->vm);
    for (Diagnostic& ignored : read->ignored) read_.ignored.push_back({place(ignored.at), std::move(ignored.message)});
    for (std::size_t i = sections; i < vm().epc.size(); ++i) vm().epc[i].at = place(vm().epc[i].at);
    if (vm().cpu.mode == CpuMode::unspecified) {
      vm().cpu = of_xml;
      return;
    }
    for (CpuFeature& feature : vm().cpu.features) feature.at = place(feature.at);
    if (of_xml != Cpu()) ignore(cpu_, "what 'cpu' says of the processor is ignored: a '-cpu' takes its place");
  }

  void settle_nodes() {
    if (error_ || cells_.empty()) return;
    for (const Epc& epc : vm().epc) {
      if (epc.guest_node.value_or(0) < cells_.size()) continue;
      error_ =
          Diagnostic{epc.at, fmt::format("EPC in node {}, but 'numa' has {} cells", *epc.guest_node, cells_.size())};
      return;
    }
    if (const auto lacking = std::ranges::find(cells_, u64{0}, &GuestNode::kib); lacking != cells_.end())
      return fail(numa_, fmt::format("the cell {} is missing", lacking - cells_.begin()));
    if (cells_.size() == 1 && cells_.front().cpus.empty()) cells_.front().cpus = guest_nodes(vm()).front().cpus;
    if (cells_ != guest_nodes(vm())) vm().nodes = cells_;
  }

  xml::Document document_;
  ReadVm read_;
  std::optional<Diagnostic> error_;
  Node cpu_, numa_, memory_, most_memory_;
  u64 memory_kib_ = 0, most_memory_kib_ = 0, devices_kib_ = 0;
  std::vector<GuestNode> cells_;
  std::vector<std::string> arguments_;  ///< of <qemu:commandline>
  std::vector<Node> argument_nodes_;
};

}  // namespace

tl::expected<ReadVm, Diagnostic> from_libvirt(std::string_view text) {
  auto document = xml::Document::parse(text);
  if (!document) return tl::unexpected(document.error());
  return LibvirtReader(std::move(*document)).domain();
}

}  // namespace cloister::toolstack::vm
