// Reading QEMU's command line (qemu(1)): a function an option; EPC, RAM and nodes are in qemu_memory.cpp. The last -cpu
// counts; what libvirt adds to any domain by itself is passed over in silence.
#include <fmt/format.h>

#include <algorithm>

#include "interop/vm/among.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/kinds.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/qemu_cpu.hpp"
#include "interop/vm/qemu_memory.hpp"
#include "interop/vm/qemu_silent.hpp"
#include "interop/vm/sizes.hpp"
#include "interop/vm/uuid.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

constexpr u64 least_ram_kib = 1024, qemu_default_kib = 128 << 10;

class QemuReader {
 public:
  /// The accelerator of a machine that was there before comes first, and QEMU tries them in order.
  QemuReader(Vm before, bool is_described, bool nodes, const std::vector<std::string>& argv)
      : options_(qemu_options(argv)),
        vm_(std::move(before)),
        memory_(report_, static_cast<u32>(vm_.epc.size()), nodes) {
    if (const auto accelerator = qemu_accelerator(options_); accelerator && !is_described)
      vm_.type = accelerator->name == "kvm" ? "kvm" : "qemu";
  }

  tl::expected<ReadVm, Diagnostic> argv() {
    for (const QemuOption& option : options_) {
      report_.look_at(option);
      if (!option.complete) report_.fail(0, "the value is missing");
      if (is_joined("-" + option.name))
        report_.fail(Diagnostic{
            report_.at(0),
            fmt::format("found {}, expected an option and its value as two arguments", shown("-" + option.name))});
      read(option);
    }
    settle_globals();
    memory_.settle(vm_);
    if (machine_at_ && has_no_epc(vm_.machine) && !vm_.epc.empty())
      report_.fail(Diagnostic{*machine_at_, no_epc_on(vm_.machine)});
    return report_.whole(std::move(vm_));
  }

 private:
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
                            {"global", &QemuReader::global},
                            {"m", &QemuReader::memory},
                            {"smp", &QemuReader::vcpus},
                            {"kernel", &QemuReader::kernel},
                            {"initrd", &QemuReader::ramdisk},
                            {"append", &QemuReader::cmdline},
                            {"object", &QemuReader::object},
                            {"numa", &QemuReader::numa},
                            {"enable-kvm", &QemuReader::nothing},
                            {"no-kvm", &QemuReader::nothing},
                            {"sgx-epc", &QemuReader::old_epc},
                            {"no-acpi", &QemuReader::nothing},
                            {"rtc", &QemuReader::clock},
                            {"localtime", &QemuReader::localtime}};
    const auto* const row = std::ranges::find(rows, option.name, &Row::name);
    if (row != std::end(rows)) return (this->*row->read)();
    if (among(option.name, silent_options)) return;
    report_.ignore(0, option.name.empty() ? fmt::format("the argument {} is ignored", shown(option.value))
                                          : fmt::format("the option '-{}' is ignored", report_.name()));
  }

  void nothing() {}
  void object() { memory_.object(); }
  void numa() { memory_.numa(); }
  void old_epc() { memory_.old_epc(); }
  void kernel() { vm_.kernel = report_.option().value; }
  void ramdisk() { vm_.ramdisk = report_.option().value; }
  void cmdline() { vm_.cmdline = report_.option().value; }

  void name() {
    for (const QemuField& field : report_.fields()) {
      if (is_field(field, "guest")) vm_.name = value_of(field);
    }
  }

  void uuid() {
    const auto uuid = uuid_of(report_.option().value);
    if (!uuid) return report_.wrong(0, report_.option().value, "32 hexadecimal digits");
    vm_.uuid = *uuid;
  }

  // ------------------------------------------------------------------------------------------------ the machine

  /// One of the accelerators that are named; qemu_accelerator() tells which counts.
  void look_at_accel(u32 offset, std::string_view words) {
    const std::string_view word = words.substr(0, words.find(':'));
    if (word != "kvm" && word != "tcg") report_.wrong(offset, words, "'kvm' or 'tcg'");
  }
  void accel() {
    const std::vector<QemuField> all = report_.fields();
    for (const QemuField& field : all) {
      if (is_field(field, "accel")) {
        look_at_accel(field.offset, value_of(field));
      } else {
        report_.ignore(field);
      }
    }
  }

  void machine() {
    for (const QemuField& field : report_.fields()) {
      if (is_field(field, "type")) {
        vm_.machine = value_of(field);
        machine_at_ = report_.at(field.offset);
        // Of Proxmox's QEMU, which has versions of its own: "q35+pve0".
        if (const std::size_t plus = vm_.machine.find('+'); plus != std::string::npos && plus > 0) {
          report_.ignore(field.offset, fmt::format("{} of the machine is ignored", shown(vm_.machine.substr(plus))));
          vm_.machine.resize(plus);
        }
        if (!is_word(vm_.machine)) report_.wrong(field.offset, vm_.machine, "a machine's name");
      } else if (field.name == "accel") {
        look_at_accel(field.offset, value_of(field));
      } else if (field.name.starts_with("sgx-epc.")) {
        memory_.section(field);
      } else if (!among(field.name, silent_in_machine)) {
        report_.ignore(field);
      }
    }
  }

  void memory() {
    for (const QemuField& field : report_.fields()) {
      if (!is_field(field, "size")) {
        // libvirt's room for EPC, which it takes for memory devices.
        if (field.name != "slots" && field.name != "maxmem") report_.ignore(field);
        continue;
      }
      const auto kib = read_qemu_size(value_of(field), mebibyte);
      if (!kib || *kib < least_ram_kib)
        return report_.wrong(field.offset, value_of(field), "a size such as '512' (MiB) or '2G'");
      vm_.memory_kib = *kib;
    }
  }

  /// QEMU's own -rtc merges, so that only a base changes the clock.
  void clock() {
    for (const QemuField& field : report_.fields()) {
      if (field.name != "base") continue;  // the tick's source, and what is done about lost ones
      const std::string base = value_of(field);
      vm_.clock.localtime = base == "localtime";
      if (base == "utc" || base == "localtime") continue;
      const bool date = base.find_first_not_of("0123456789-:T") == base.npos && base.find('-') != base.npos;
      if (!date) return report_.wrong(field.offset, base, "'utc', 'localtime' or a date such as '2006-06-17T16:01:21'");
      report_.ignore(field.offset, fmt::format("base={} of '-rtc' is ignored: the clock has UTC", shown(base)));
    }
  }
  void localtime() { vm_.clock.localtime = true; }  // of QEMU before 3.1

  void vcpus() {
    std::optional<u64> cpus;
    u64 product = 1;
    for (const QemuField& field : report_.fields()) {
      const auto count = read_whole(value_of(field), most_vcpus);
      if (!count || *count == 0) {
        return report_.wrong(field.offset, value_of(field), fmt::format("a number from 1 to {}", most_vcpus));
      }
      if (is_field(field, "cpus")) {
        cpus = *count;
      } else if (field.name != "maxcpus") {
        product = std::min<u64>(product * *count, most_vcpus + 1);
      } else if (cpus && *cpus != *count) {
        report_.ignore(field);
      }
    }
    const u64 all = cpus.value_or(product);
    if (all > most_vcpus)
      return report_.wrong(0, report_.option().value, fmt::format("{} processors at most", most_vcpus));
    vm_.vcpus = static_cast<u32>(all);
  }

  void cpu() {
    if (cpu_at_) report_.ignore(Diagnostic{*cpu_at_, "this '-cpu' is ignored: a later one takes its place"});
    cpu_at_ = report_.at(0);
    auto read = read_qemu_cpu(report_.option().value, cpu_at_->line);
    if (!read) {
      return report_.fail(std::move(read.error()));
    }
    vm_.cpu = std::move(read->cpu);
    for (Diagnostic& ignored : read->ignored) report_.ignore(std::move(ignored));
    vm_.provision.reset();
    for (const CpuFeature& feature : vm_.cpu.features) {
      if (feature.name == "sgx-provisionkey") vm_.provision = is_on(feature.policy);
    }
  }

  /// libvirt adds some by itself, of other classes.
  void global() {
    if (const auto read = read_cpu_global(report_.option().value)) globals_.emplace_back(report_.at(0), *read);
  }

  /// They are said before -cpu, wherever they stand, and of several the last counts.
  void settle_globals() {
    for (auto global = globals_.rbegin(); global != globals_.rend(); ++global) {
      const auto& [at, read] = *global;
      Cpu& cpu = vm_.cpu;
      const std::string chosen = cpu.mode == CpuMode::host_passthrough ? "host"
                                 : cpu.mode == CpuMode::maximum        ? "max"
                                                                       : cpu.model;
      const auto ignore = [this, where = at, word = read.word](const char* why) {
        report_.ignore(Diagnostic{where, fmt::format("{} of '-global' is ignored: {}", shown(word), why)});
      };
      if (!cpu_at_ || (!read.model.empty() && read.model != chosen)) {
        ignore("'-cpu' chooses no such processor");
        continue;
      }
      const std::string name = name_of_word(read.word, policy::Tool::qemu);
      if (std::ranges::find(cpu.features, name, &CpuFeature::name) != cpu.features.end()) continue;
      if (policy::find_feature(name) == nullptr || cpu.features.size() >= most_features) {
        ignore("it is no feature of a processor");
        continue;
      }
      cpu.features.push_back(
          {.name = name, .policy = read.on ? FeaturePolicy::require : FeaturePolicy::disable, .at = at});
      if (name == "sgx-provisionkey") vm_.provision = read.on;
    }
  }

  std::vector<QemuOption> options_;
  std::vector<std::pair<Position, CpuGlobal>> globals_;
  Vm vm_;
  QemuReport report_;
  QemuMemory memory_;
  std::optional<Position> cpu_at_, machine_at_;
};

}  // namespace

namespace {

/// `type`: what the machine has where nothing is said of an accelerator.
tl::expected<ReadVm, Diagnostic> read_arguments(const std::vector<std::string>& argv, const char* type) {
  Vm vm;
  vm.type = type;
  vm.memory_kib = qemu_default_kib;
  vm.machine = "pc";  // QEMU's, where nothing is said
  return QemuReader(std::move(vm), false, false, argv).argv();
}

}  // namespace

tl::expected<ReadVm, Diagnostic> from_qemu(const std::vector<std::string>& argv) {
  return read_arguments(argv, "qemu");
}

tl::expected<ReadVm, Diagnostic> from_qemu_command(const std::vector<std::string>& argv) {
  const auto program = qemu_of(argv);
  const bool listing = !program && (argv.empty() || argv.front().starts_with('-'));
  if (listing && !argv.empty() && !is_qemu_option(argv.front()))
    return tl::unexpected(Diagnostic{
        {1, 1}, fmt::format("found {}, expected QEMU's program, or an option that it has", shown(argv.front()))});
  if (program) {
    if (auto other = of_other_architecture(argv[*program])) return tl::unexpected(std::move(*other));
  }
  const std::size_t first = program ? *program + 1 : listing ? 0 : 1;
  const std::vector<std::string> arguments(argv.begin() + static_cast<std::ptrdiff_t>(first), argv.end());
  if (auto variable = not_of_command(arguments)) return tl::unexpected(std::move(*variable));
  auto read = read_arguments(arguments, program && brings_kvm(argv[*program]) ? "kvm" : "qemu");
  // A path is the machine's emulator; a name is found where the tool looks for it.
  if (read && program && argv[*program].starts_with('/')) read->vm.emulator = argv[*program];
  return read;
}

tl::expected<ReadVm, Diagnostic> with_arguments(Vm vm, bool nodes, const std::vector<std::string>& argv) {
  return QemuReader(std::move(vm), true, nodes, argv).argv();
}

}  // namespace cloister::toolstack::vm
