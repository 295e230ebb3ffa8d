// Reading Cloud Hypervisor's command line (https://github.com/cloud-hypervisor/cloud-hypervisor, docs/intel_sgx.md):
// its guests have the host's processor, EPC by --sgx-epc, and with it the provisioning key. An option may have several
// values. Places are as of QEMU's command lines.
#include <fmt/format.h>

#include <algorithm>

#include "interop/vm/among.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/kinds.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/qemu_report.hpp"
#include "interop/vm/sizes.hpp"
#include "interop/vm/uuid.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

constexpr u64 single_bytes = 1, default_ram_kib = 512 << 10;
constexpr std::string_view silent_here[] = {"-api-socket", "-serial",   "-console",       "-seccomp",
                                            "-log-file",   "-rng",      "-event-monitor", "-watchdog",
                                            "-balloon",    "-landlock", "-debug-console", "-pvpanic"};

/// An option's values are what follows up to the next option; "--name=value" is one.
std::vector<QemuOption> options_of(const std::vector<std::string>& argv) {
  std::vector<QemuOption> options;
  std::string name;
  bool open = false;  // the option has no value yet
  const auto close = [&](std::size_t index) {
    if (open) options.push_back({.name = name, .value = {}, .index = static_cast<u32>(index), .complete = false});
    open = false;
  };
  for (std::size_t i = 0; i < argv.size(); ++i) {
    const std::string& word = argv[i];
    if (!word.starts_with("-")) {
      options.push_back({.name = name, .value = word, .index = static_cast<u32>(i)});
      open = false;
      continue;
    }
    close(i - 1);
    const std::size_t equals = word.find('=');
    name = word.substr(1, equals == word.npos ? equals : equals - 1);
    open = equals == word.npos;
    if (!open) options.push_back({.name = name, .value = word.substr(equals + 1), .index = static_cast<u32>(i)});
  }
  close(argv.size() - 1);
  return options;
}

class CloudHypervisorReader {
 public:
  explicit CloudHypervisorReader(const std::vector<std::string>& argv) : options_(options_of(argv)) {
    vm_.memory_kib = default_ram_kib;
    vm_.cpu.mode = CpuMode::host_passthrough;
  }

  tl::expected<ReadVm, Diagnostic> read() {
    for (const QemuOption& option : options_) {
      report_.look_at(option);
      read_option(option);
    }
    if (!vm_.epc.empty()) {
      put_feature(vm_.cpu, "sgx", FeaturePolicy::require);
      vm_.provision = true;
    }
    return report_.whole(std::move(vm_));
  }

 private:
  void read_option(const QemuOption& option) {
    const std::string_view name = option.name;
    if (name == "-cpus") return cpus();
    if (name == "-memory") return memory();
    if (name == "-sgx-epc") return epc();
    if (name == "-platform") return platform();
    if (name == "-kernel") return path(vm_.kernel);
    if (name == "-initramfs") return path(vm_.ramdisk);
    if (name == "-cmdline") return path(vm_.cmdline);
    if (among(name, silent_here)) return;
    report_.ignore(0, name.empty() ? fmt::format("the argument {} is ignored", shown(option.value))
                                   : fmt::format("the option '-{}' is ignored", report_.name()));
  }

  void path(std::string& to) {
    if (!report_.option().complete) return report_.fail(0, "the value is missing");
    to = report_.option().value;
  }

  void cpus() {
    for (const QemuField& field : report_.fields()) {
      if (field.name != "boot") {
        report_.ignore(field);
        continue;
      }
      const auto count = read_whole(value_of(field), most_vcpus);
      if (!count || *count == 0)
        return report_.wrong(field.offset, value_of(field), fmt::format("a number from 1 to {}", most_vcpus));
      vm_.vcpus = static_cast<u32>(*count);
    }
  }

  std::optional<u64> size(const QemuField& field) {
    const auto kib = read_qemu_size(value_of(field), single_bytes);
    if (kib && *kib >= 1024) return kib;
    report_.wrong(field.offset, value_of(field), "a size such as '64M'");
    return std::nullopt;
  }

  void memory() {
    for (const QemuField& field : report_.fields()) {
      if (field.name != "size") {
        report_.ignore(field);
      } else if (const auto kib = size(field)) {
        vm_.memory_kib = *kib;
      }
    }
  }

  void epc() {
    Epc section{.kib = 0, .host_nodes = {}, .guest_node = std::nullopt, .prealloc = false, .at = report_.at(0)};
    for (const QemuField& field : report_.fields()) {
      if (field.name == "size") {
        section.kib = size(field).value_or(0);
      } else if (field.name == "prefault") {
        const auto on = qemu_switch(value_of(field));
        if (!on) return report_.wrong(field.offset, value_of(field), "'on' or 'off'");
        section.prealloc = *on;
      } else if (field.name != "id") {
        report_.ignore(field);
      }
    }
    if (section.kib == 0) return report_.fail(0, "a section has no size; expected 'id=ID,size=SIZE'");
    if (vm_.epc.size() == most_sections)
      return report_.fail(0, fmt::format("EPC has {} sections at most", most_sections));
    vm_.epc.push_back(std::move(section));
  }

  void platform() {
    for (const QemuField& field : report_.fields()) {
      const auto uuid = field.name == "uuid" ? uuid_of(value_of(field)) : std::nullopt;
      if (uuid) {
        vm_.uuid = *uuid;
      } else {
        report_.ignore(field);
      }
    }
  }

  std::vector<QemuOption> options_;
  Vm vm_;
  QemuReport report_;
};

}  // namespace

tl::expected<ReadVm, Diagnostic> from_command(const std::vector<std::string>& argv) {
  const auto program = cloud_hypervisor_of(argv);
  if (!program) return from_qemu_command(argv);
  return CloudHypervisorReader({argv.begin() + static_cast<std::ptrdiff_t>(*program) + 1, argv.end()}).read();
}

}  // namespace cloister::toolstack::vm
