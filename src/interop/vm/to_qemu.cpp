// Writing QEMU's command line. There is exactly one -cpu, its features in alphabetical order as `on` and `off`.
#include <fmt/format.h>

#include <algorithm>

#include "interop/vm/among.hpp"
#include "interop/vm/clock.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/kvm.hpp"
#include "interop/vm/nodes.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/qemu_options.hpp"
#include "interop/vm/sizes.hpp"
#include "interop/vm/spoken.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::vm {

namespace {

struct Written {
  std::vector<std::string> argv;
  std::vector<Loss> losses;
};

std::string size_of(u64 kib) { return kib % 1024 == 0 ? fmt::format("{}M", kib / 1024) : fmt::format("{}k", kib); }

class QemuWriter {
 public:
  explicit QemuWriter(const Vm& vm) : vm_(vm) {}

  Written written() {
    if (!vm_.name.empty()) add("-name", fmt::format("guest={}", qemu_escaped(vm_.name)));
    if (!vm_.uuid.empty()) add("-uuid", vm_.uuid);
    for (std::size_t i = 0; i < vm_.epc.size(); ++i) backend(i);
    machine();
    add("-accel", vm_.type == "kvm" ? "kvm" : "tcg");
    cpu();
    add("-m", size_of(vm_.memory_kib));
    add("-smp", fmt::to_string(vm_.vcpus));
    if (names_nodes(vm_)) nodes();
    if (!vm_.kernel.empty()) add("-kernel", vm_.kernel);
    of_kernel("-initrd", "ramdisk", vm_.ramdisk);
    of_kernel("-append", "cmdline", vm_.cmdline);
    if (vm_.clock.localtime) add("-rtc", "base=localtime");
    if (vm_.clock.ahead != 0) {
      // A date as the base would be that of the command line's making, not of the guest's start.
      written_.losses.push_back({clock_in_words(vm_.clock), "QEMU's -rtc has no word for a difference", true});
    }
    written_.argv.emplace_back("-nographic");
    lose_launch(vm_, "QEMU", written_.losses);
    return std::move(written_);
  }

 private:
  void add(const char* option, std::string value) {
    written_.argv.emplace_back(option);
    written_.argv.push_back(std::move(value));
  }
  void lose(std::string what, std::string why) { written_.losses.push_back({std::move(what), std::move(why)}); }

  void of_kernel(const char* option, const char* what, const std::string& value) {
    if (value.empty()) return;
    if (!vm_.kernel.empty()) return add(option, value);
    written_.losses.push_back({fmt::format("{} {}", what, shown(value)), "QEMU takes it beside a kernel only", true});
  }

  void backend(std::size_t i) {
    const Epc& epc = vm_.epc[i];
    const u64 kib = (epc.kib + page_kib - 1) / page_kib * page_kib;
    if (kib != epc.kib)
      written_.losses.push_back({fmt::format("the exact size of an EPC section of {} KiB", epc.kib),
                                 fmt::format("it is of whole pages, {} KiB", kib), true});
    std::string text = fmt::format("memory-backend-epc,id=memepc{},size={}", i, size_of(kib));
    text += epc.prealloc ? ",prealloc=on" : ",prealloc=off";
    for (const std::string& run : runs_of(epc.host_nodes)) text += ",host-nodes=" + run;
    if (!epc.host_nodes.empty()) text += ",policy=bind";
    add("-object", text);
  }

  void machine() {
    std::string text = is_word(vm_.machine) ? vm_.machine : "q35";
    if (text != vm_.machine && !vm_.machine.empty())
      lose(fmt::format("machine {}", shown(vm_.machine)), "it is no name of a machine");
    for (std::size_t i = 0; i < vm_.epc.size(); ++i) {
      text += fmt::format(",sgx-epc.{0}.memdev=memepc{0},sgx-epc.{0}.node={1}", i, vm_.epc[i].guest_node.value_or(0));
    }
    add("-M", text);
  }

  std::string model() {
    switch (vm_.cpu.mode) {
      case CpuMode::custom: return vm_.cpu.model;
      case CpuMode::host_passthrough: return "host";
      case CpuMode::maximum: return "max";
      case CpuMode::host_model:
        lose("CPU mode host-model", "QEMU has the host's processor as it is, or a named model");
        return "host";
      case CpuMode::unspecified: break;
    }
    return "qemu64";  // QEMU's own default
  }

  void cpu() {
    const std::string model = this->model();
    std::vector<std::string> words;
    // These mirror what the guest writes to CR4: libvirt may name them, and QEMU has no switch for them.
    constexpr std::string_view mirrors[] = {"osxsave", "ospke"};
    for (const CpuFeature& feature : with_provision(vm_).features) {
      if (among(feature.name, mirrors)) continue;
      const std::string what = fmt::format("feature {}", is_word(feature.name) ? feature.name : shown(feature.name));
      const auto word = word_of_name(feature.name, policy::Tool::qemu);
      if (word) {
        words.push_back(*word + (is_on(feature.policy) ? "=on" : "=off"));
        if (feature.policy != FeaturePolicy::require && feature.policy != FeaturePolicy::disable)
          lose(fmt::format("policy '{}' of {}", word_of(feature.policy), what), "QEMU knows 'on' and 'off' only");
      } else if (is_on(feature.policy) || vm_.cpu.mode != CpuMode::custom) {
        lose(what, word.error());
      }
      // What QEMU has no word for is off in its models.
    }
    std::ranges::sort(words, {}, [](const std::string& word) { return word.substr(0, word.find('=')); });
    std::string text = model;
    for (const std::string& word : words) text += "," + word;
    add("-cpu", text);
  }

  void nodes() {
    u32 id = 0;
    for (const GuestNode& node : guest_nodes(vm_)) {
      std::string text = fmt::format("node,nodeid={}", id);
      for (const std::string& run : runs_of(node.cpus)) text += ",cpus=" + run;
      // A node may have no memory, and an object must have some.
      if (node.kib > 0) {
        add("-object", fmt::format("memory-backend-ram,id=ram-node{},size={}", id, size_of(node.kib)));
        text += fmt::format(",memdev=ram-node{}", id);
      }
      add("-numa", text);
      ++id;
    }
  }

  const Vm& vm_;
  Written written_;
};

/// As a shell reads it back.
std::string in_quotes(const std::string& word) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%";
  if (!word.empty() && word.find_first_not_of(plain) == word.npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace

std::vector<std::string> qemu_argv(const Vm& vm) { return QemuWriter(vm).written().argv; }

Rendered to_qemu(const Vm& asked) {
  std::vector<Loss> losses;
  const Vm vm = as_qemu_runs(asked, losses);
  Written written = QemuWriter(vm).written();
  written.losses.insert(written.losses.begin(), losses.begin(), losses.end());
  std::string text = in_quotes(vm.emulator.empty() ? "qemu-system-x86_64" : vm.emulator);
  for (std::size_t i = 0; i < written.argv.size(); ++i) {
    // Options stand at even places up to the last one, which has no value.
    text += (i % 2 == 0 ? " \\\n  " : " ") + in_quotes(written.argv[i]);
  }
  return {text + "\n", std::move(written.losses)};
}

}  // namespace cloister::toolstack::vm
