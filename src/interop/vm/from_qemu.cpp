// Reading QEMU's command line (qemu(1)): a function an option. A position is the argument's number as the line, counted
// from 1 without the program, and the place in its value as the column. The last -cpu counts; what libvirt adds to any
// domain by itself is passed over in silence.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "interop/vm/among.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/kinds.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/qemu_cpu.hpp"
#include "interop/vm/qemu_options.hpp"
#include "interop/vm/qemu_silent.hpp"
#include "interop/vm/sizes.hpp"
#include "interop/vm/uuid.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

constexpr u64 mebibyte = 1 << 20, byte = 1;
constexpr u64 least_ram_kib = 1024, qemu_default_kib = 128 << 10;

/// A memory-backend-*.
struct Backend {
  bool epc = false;
  Epc section;
  bool used = false;
};

/// sgx-epc.N of the machine.
struct Section {
  std::string memdev;
  std::optional<u32> node;
  Position at;
};

class QemuReader {
 public:
  /// The accelerator of a machine that was there before comes first, and QEMU tries them in order.
  QemuReader(Vm before, bool is_described, bool nodes, const std::vector<std::string>& argv)
      : options_(qemu_options(argv)),
        read_{std::move(before), {}},
        accel_(is_described),
        has_nodes_(nodes),
        first_section_(static_cast<u32>(read_.vm.epc.size())) {}

  tl::expected<ReadVm, Diagnostic> argv() {
    for (const QemuOption& option : options_) {
      option_ = &option;
      if (!option.complete) fail(0, "the value is missing");
      read(option);
    }
    settle_epc();
    settle_nodes();
    if (!error_ && vm().memory_kib + epc_kib(vm()) > most_kib)
      error_ = Diagnostic{{1, 1}, fmt::format("found more than {} KiB of RAM and EPC", most_kib)};
    if (error_) return tl::unexpected(std::move(*error_));
    std::ranges::stable_sort(read_.ignored, {}, [](const Diagnostic& d) { return std::pair(d.at.line, d.at.column); });
    return std::move(read_);
  }

 private:
  Vm& vm() { return read_.vm; }

  Position at(u32 offset) const { return {.line = option_->index + 1, .column = offset + 1}; }
  /// The first error counts.
  void fail(u32 offset, const std::string& message) {
    if (!error_) error_ = Diagnostic{at(offset), fmt::format("'-{}': {}", printable(option_->name), message)};
  }
  void wrong(u32 offset, std::string_view found, std::string_view expected) {
    fail(offset, fmt::format("found {}, expected {}", shown(found), expected));
  }
  void ignore(u32 offset, const std::string& message) { read_.ignored.push_back({at(offset), message}); }
  void ignore(const QemuField& field) {
    ignore(field.offset, fmt::format("{} of '-{}' is ignored", shown(field.name), option_->name));
  }
  static std::string printable(const std::string& name) {
    const std::string text = shown(name);
    return text.substr(1, text.size() - 2);
  }

  void read(const QemuOption& option) {
    struct Row {
      std::string_view name;
      void (QemuReader::*read)();
    };
    constexpr Row rows[] = {{"name", &QemuReader::name},
                            {"uuid", &QemuReader::uuid},
                            {"machine", &QemuReader::machine},
                            {"accel", &QemuReader::accel},
                            {"cpu", &QemuReader::cpu},
                            {"m", &QemuReader::memory},
                            {"smp", &QemuReader::vcpus},
                            {"kernel", &QemuReader::kernel},
                            {"initrd", &QemuReader::ramdisk},
                            {"append", &QemuReader::cmdline},
                            {"object", &QemuReader::object},
                            {"numa", &QemuReader::numa},
                            {"enable-kvm", &QemuReader::kvm},
                            {"sgx-epc", &QemuReader::old_epc},
                            {"no-acpi", &QemuReader::nothing},
                            {"rtc", &QemuReader::clock},
                            {"localtime", &QemuReader::localtime}};
    const auto* const row = std::ranges::find(rows, option.name, &Row::name);
    if (row != std::end(rows)) return (this->*row->read)();
    if (among(option.name, silent_options)) return;
    ignore(0, option.name.empty() ? fmt::format("the argument {} is ignored", shown(option.value))
                                  : fmt::format("the option '-{}' is ignored", printable(option.name)));
  }

  std::vector<QemuField> fields() const { return qemu_fields(option_->value); }

  /// The value of a field with a name, or of a first one that goes without.
  static std::string value_of(const QemuField& field) { return field.value.value_or(field.name); }
  static bool is(const QemuField& field, std::string_view name) {
    return field.value ? field.name == name : field.offset == 0;
  }

  void nothing() {}
  void kernel() { vm().kernel = option_->value; }
  void ramdisk() { vm().ramdisk = option_->value; }
  void cmdline() { vm().cmdline = option_->value; }

  void name() {
    for (const QemuField& field : fields()) {
      if (is(field, "guest")) vm().name = value_of(field);
    }
  }

  void uuid() {
    const auto uuid = uuid_of(option_->value);
    if (!uuid) return wrong(0, option_->value, "32 hexadecimal digits");
    vm().uuid = *uuid;
  }

  // ------------------------------------------------------------------------------------------------ the machine

  /// "kvm:tcg": the first that can be had; the first counts here.
  void take_accel(u32 offset, std::string_view words) {
    const std::string_view word = words.substr(0, words.find(':'));
    if (word != "kvm" && word != "tcg") return wrong(offset, words, "'kvm' or 'tcg'");
    if (!accel_) vm().type = word == "kvm" ? "kvm" : "qemu";
    accel_ = true;
  }
  void kvm() { take_accel(0, "kvm"); }
  void accel() {
    const std::vector<QemuField> all = fields();
    for (const QemuField& field : all) {
      if (is(field, "accel")) {
        take_accel(field.offset, value_of(field));
      } else {
        ignore(field);
      }
    }
  }

  void machine() {
    for (const QemuField& field : fields()) {
      if (is(field, "type")) {
        vm().machine = value_of(field);
        if (!is_word(vm().machine)) wrong(field.offset, vm().machine, "a machine's name");
      } else if (field.name == "accel") {
        take_accel(field.offset, value_of(field));
      } else if (field.name.starts_with("sgx-epc.")) {
        section(field);
      } else if (!among(field.name, silent_in_machine)) {
        ignore(field);
      }
    }
  }

  /// sgx-epc.N.memdev=ID, sgx-epc.N.node=NODE.
  void section(const QemuField& field) {
    const std::string_view rest = std::string_view(field.name).substr(std::string_view("sgx-epc.").size());
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    const auto number = read_whole(rest.substr(0, dot), most_sections - 1);
    const std::string_view what = rest.substr(std::min(dot + 1, rest.size()));
    if (!number || (what != "memdev" && what != "node") || !field.value) {
      return wrong(field.offset, field.name, "'sgx-epc.N.memdev=ID' or 'sgx-epc.N.node=NODE'");
    }
    Section& section = sections_[static_cast<u32>(*number)];
    section.at = at(field.offset);
    if (what == "memdev") {
      section.memdev = *field.value;
      return;
    }
    const auto node = read_whole(*field.value, most_guest_nodes - 1);
    if (!node) return wrong(field.offset, *field.value, fmt::format("a node from 0 to {}", most_guest_nodes - 1));
    section.node = static_cast<u32>(*node);
  }

  /// Intel's QEMU of before 6.2: -sgx-epc id=epc1,memdev=mem1.
  void old_epc() {
    Section section{.memdev = {}, .node = std::nullopt, .at = at(0)};
    for (const QemuField& field : fields()) {
      if (field.name == "memdev") section.memdev = value_of(field);
    }
    u32 free = first_section_;
    while (sections_.contains(free)) ++free;
    sections_[free] = std::move(section);
  }

  void memory() {
    for (const QemuField& field : fields()) {
      if (!is(field, "size")) {
        // libvirt's room for EPC, which it takes for memory devices.
        if (field.name != "slots" && field.name != "maxmem") ignore(field);
        continue;
      }
      const auto kib = read_qemu_size(value_of(field), mebibyte);
      if (!kib || *kib < least_ram_kib)
        return wrong(field.offset, value_of(field), "a size such as '512' (MiB) or '2G'");
      vm().memory_kib = *kib;
    }
  }

  /// QEMU's own -rtc merges, so that only a base changes the clock.
  void clock() {
    for (const QemuField& field : fields()) {
      if (field.name != "base") continue;  // the tick's source, and what is done about lost ones
      const std::string base = value_of(field);
      vm().clock.localtime = base == "localtime";
      if (base == "utc" || base == "localtime") continue;
      const bool date = base.find_first_not_of("0123456789-:T") == base.npos && base.find('-') != base.npos;
      if (!date) return wrong(field.offset, base, "'utc', 'localtime' or a date such as '2006-06-17T16:01:21'");
      ignore(field.offset, fmt::format("base={} of '-rtc' is ignored: the clock has UTC", shown(base)));
    }
  }
  void localtime() { vm().clock.localtime = true; }  // of QEMU before 3.1

  void vcpus() {
    std::optional<u64> cpus;
    u64 product = 1;
    for (const QemuField& field : fields()) {
      const auto count = read_whole(value_of(field), most_vcpus);
      if (!count || *count == 0) {
        return wrong(field.offset, value_of(field), fmt::format("a number from 1 to {}", most_vcpus));
      }
      if (is(field, "cpus")) {
        cpus = *count;
      } else if (field.name != "maxcpus") {
        product = std::min<u64>(product * *count, most_vcpus + 1);
      } else if (cpus && *cpus != *count) {
        ignore(field);
      }
    }
    const u64 all = cpus.value_or(product);
    if (all > most_vcpus) return wrong(0, option_->value, fmt::format("{} processors at most", most_vcpus));
    vm().vcpus = static_cast<u32>(all);
  }

  void cpu() {
    if (cpu_at_) read_.ignored.push_back({*cpu_at_, "this '-cpu' is ignored: a later one takes its place"});
    cpu_at_ = at(0);
    auto read = read_qemu_cpu(option_->value, cpu_at_->line);
    if (!read) {
      if (!error_) error_ = std::move(read.error());
      return;
    }
    vm().cpu = std::move(read->cpu);
    std::ranges::move(read->ignored, std::back_inserter(read_.ignored));
    vm().provision.reset();
    for (const CpuFeature& feature : vm().cpu.features) {
      if (feature.name == "sgx-provisionkey") vm().provision = is_on(feature.policy);
    }
  }

  // ------------------------------------------------------------------------------------------------ objects

  void object() {
    const auto all = option_->value.starts_with('{') ? qemu_json_fields(option_->value) : fields();
    if (!all) return wrong(0, option_->value, "one JSON object");
    std::string type, id;
    for (const QemuField& field : *all) {
      if (is(field, "qom-type")) type = value_of(field);
      if (field.name == "id") id = value_of(field);
    }
    if (among(type, silent_objects)) return;
    if (!type.starts_with("memory-backend-")) return ignore(0, fmt::format("the object {} is ignored", shown(type)));
    Backend backend{.epc = type == "memory-backend-epc", .section = {}, .used = false};
    backend.section.prealloc = false;
    backend.section.at = at(0);
    for (const QemuField& field : *all) backend_field(field, backend);
    if (backend.epc && backend.section.kib == 0) return fail(0, fmt::format("{} has no size", shown(id)));
    if (!backends_.emplace(id, std::move(backend)).second)
      fail(0, fmt::format("the object {} is there twice", shown(id)));
  }

  void backend_field(const QemuField& field, Backend& backend) {
    const std::string value = value_of(field);
    if (field.name == "size") {
      const auto kib = read_qemu_size(value, byte);
      if (!kib || *kib == 0) return wrong(field.offset, value, "a size such as '64M'");
      backend.section.kib = *kib;
    } else if (field.name == "prealloc") {
      const auto on = field.value ? qemu_switch(value) : std::optional(true);
      if (!on) return wrong(field.offset, value, "'on' or 'off'");
      backend.section.prealloc = *on;
    } else if (field.name == "host-nodes") {
      const auto nodes = read_nodes(value);
      if (!nodes) return wrong(field.offset, value, "NUMA nodes such as '0-1'");
      std::vector<u32>& to = backend.section.host_nodes;
      to.insert(to.end(), nodes->begin(), nodes->end());
      std::ranges::sort(to);
      to.erase(std::unique(to.begin(), to.end()), to.end());
    } else if (field.name == "policy" && backend.epc && value != "bind" && value != "default") {
      ignore(field.offset, fmt::format("policy={} of EPC is ignored: pages are of the nodes that are named, or of any",
                                       shown(value)));
    }
  }

  void numa() {
    const std::vector<QemuField> all = fields();
    if (value_of(all.front()) != "node") return ignore(0, "'-numa' other than nodes is ignored");
    numa_at_ = at(0);
    u32 id = static_cast<u32>(nodes_.size());
    GuestNode node;
    for (const QemuField& field : all) {
      const std::string value = value_of(field);
      if (field.name == "nodeid") {
        const auto number = read_whole(value, most_guest_nodes - 1);
        if (!number) return wrong(field.offset, value, fmt::format("a node from 0 to {}", most_guest_nodes - 1));
        id = static_cast<u32>(*number);
      } else if (field.name == "cpus") {
        const auto cpus = read_cpus(value);
        if (!cpus) return wrong(field.offset, value, "processors such as '0-3'");
        node.cpus.insert(node.cpus.end(), cpus->begin(), cpus->end());
      } else if (field.name == "memdev") {
        node_memory_[id] = value;
      } else if (field.name == "mem") {
        node.kib = read_qemu_size(value, mebibyte).value_or(0);
      }
    }
    nodes_[id] = node;
  }

  // ------------------------------------------------------------------------------------------------ in the end

  void settle_epc() {
    u32 next = first_section_;
    const bool several = has_nodes_ || !nodes_.empty();
    for (const auto& [number, section] : sections_) {
      const auto failed = [this, at = section.at](const std::string& message) {
        if (!error_) error_ = Diagnostic{at, message};
      };
      if (number < first_section_) return failed(fmt::format("found sgx-epc.{} a second time", number));
      if (number != next++) return failed(fmt::format("found sgx-epc.{}, but no sgx-epc.{}", number, next - 1));
      const auto backend = backends_.find(section.memdev);
      if (backend == backends_.end() || !backend->second.epc) {
        return failed(fmt::format("sgx-epc.{}: found memdev {}, expected a memory-backend-epc's id", number,
                                  shown(section.memdev)));
      }
      if (backend->second.used) return failed(fmt::format("{} is in two sections", shown(section.memdev)));
      backend->second.used = true;
      Epc epc = backend->second.section;
      // Where there is one node, the number says nothing.
      if (several || section.node.value_or(0) > 0) epc.guest_node = section.node;
      vm().epc.push_back(std::move(epc));
    }
    for (const auto& [id, backend] : backends_) {
      if (backend.epc && !backend.used) {
        read_.ignored.push_back(
            {backend.section.at, fmt::format("the EPC {} is ignored: no 'sgx-epc.N.memdev' names it", shown(id))});
      }
    }
  }

  void settle_nodes() {
    if (nodes_.empty()) return;
    std::vector<GuestNode> found;
    for (auto& [id, node] : nodes_) {
      const auto backend = backends_.find(node_memory_[id]);
      if (backend != backends_.end()) node.kib = backend->second.section.kib;
      std::ranges::sort(node.cpus);
      found.push_back(node);
    }
    u64 kib = 0;
    for (const GuestNode& node : found) kib += node.kib;
    if (kib != vm().memory_kib) {
      read_.ignored.push_back(
          {*numa_at_, "the nodes of '-numa' are ignored: their RAM is not what '-m' says, or is not said"});
    } else if (found != guest_nodes(vm())) {
      vm().nodes = std::move(found);
    }
  }

  std::vector<QemuOption> options_;
  const QemuOption* option_ = nullptr;
  ReadVm read_;
  std::optional<Diagnostic> error_;
  bool accel_, has_nodes_;
  u32 first_section_;  ///< of the arguments: others have been described
  std::optional<Position> cpu_at_, numa_at_;
  std::map<std::string, Backend> backends_;
  std::map<u32, Section> sections_;
  std::map<u32, GuestNode> nodes_;
  std::map<u32, std::string> node_memory_;
};

}  // namespace

tl::expected<ReadVm, Diagnostic> from_qemu(const std::vector<std::string>& argv) {
  Vm vm;
  vm.type = "qemu";
  vm.memory_kib = qemu_default_kib;
  vm.machine = "pc";  // QEMU's, where nothing is said
  return QemuReader(std::move(vm), false, false, argv).argv();
}

tl::expected<ReadVm, Diagnostic> from_qemu_command(const std::vector<std::string>& argv) {
  const auto program = qemu_of(argv);
  const bool listing = !program && (argv.empty() || argv.front().starts_with('-'));
  const std::size_t first = program ? *program + 1 : listing ? 0 : 1;
  auto read = from_qemu({argv.begin() + static_cast<std::ptrdiff_t>(first), argv.end()});
  // A path is the machine's emulator; a name is found where the tool looks for it.
  if (read && program && argv[*program].starts_with('/')) read->vm.emulator = argv[*program];
  return read;
}

tl::expected<ReadVm, Diagnostic> with_arguments(Vm vm, bool nodes, const std::vector<std::string>& argv) {
  return QemuReader(std::move(vm), true, nodes, argv).argv();
}

}  // namespace cloister::toolstack::vm
