// `cloister cpu render`: a domain from a configuration, libvirt's XML or QEMU's command, in the words of any tool. What
// the target has no words for is an error, unless the caller accepts the loss.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>

#include "arch/try.hpp"
#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "host/whole_file.hpp"
#include "interop/cpu/cpu.hpp"
#include "interop/cpu/pool.hpp"
#include "interop/vm/formats.hpp"
#include "interop/vm/kinds.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/words.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::cpu {

namespace {

struct Target {
  std::string_view name;
  vm::Rendered (*render)(const vm::Vm&, const vmx::Backend&, const policy::CpuMap*);
  bool absolute_paths = false;  ///< it takes no others
  bool by_libvirt = false;      ///< its flags go to libvirt
};
/// Only our own form depends on what the processor is, and libvirt's words on its map.
template <vm::Rendered (*render)(const vm::Vm&)>
vm::Rendered plain(const vm::Vm& vm, const vmx::Backend&, const policy::CpuMap*) {
  return render(vm);
}
template <vm::Rendered (*render)(const vm::Vm&, const policy::CpuMap*)>
vm::Rendered by_map(const vm::Vm& vm, const vmx::Backend&, const policy::CpuMap* map) {
  return render(vm, map);
}
vm::Rendered ours(const vm::Vm& vm, const vmx::Backend& silicon, const policy::CpuMap*) {
  return vm::to_config(vm, silicon);
}
constexpr Target targets[] = {{"libvirt", by_map<vm::to_libvirt_of>, true, true},
                              {"qemu", plain<vm::to_qemu>},
                              {"nova", by_map<vm::to_nova_of>, false, true},
                              {"xl", plain<vm::to_xl>},
                              {"cloister", ours}};

/// Paths are relative to the current directory (docs/configuration.md).
void make_absolute(vm::Vm& vm) {
  for (std::string* path : {&vm.kernel, &vm.ramdisk}) {
    std::error_code error;
    if (const auto absolute = std::filesystem::absolute(*path, error); !path->empty() && !error) *path = absolute;
  }
}

/// What this libvirt refuses, whatever others take.
void lose_what_map_lacks(const vm::Vm& vm, const policy::CpuMap& map, std::vector<vm::Loss>& losses) {
  constexpr const char* why = "the map of this libvirt has no such word";
  if (vm.cpu.mode == vm::CpuMode::custom && !map.models.empty() && map.find_model(vm.cpu.model) == nullptr)
    losses.push_back({"CPU model " + shown(vm.cpu.model), why});
  for (const vm::CpuFeature& feature : vm::with_provision(vm).features) {
    const auto word = vm::word_of_name(feature.name, policy::Tool::libvirt, &map);
    if (word && map.find_feature(*word) == nullptr) losses.push_back({"feature " + shown(*word), why});
  }
}

/// Places in a command are numbers of its arguments, which no line has.
Diagnostic at_argument(const Diagnostic& d) {
  return d.at.line == 0 ? d : Diagnostic{{}, fmt::format("argument {}: {}", d.at.line, d.message)};
}

tl::expected<vm::ReadVm, Diagnostic> read_command(std::string_view text) {
  const auto argv = TRY(vm::read_argv(text));
  auto read = vm::from_command(argv);
  if (!read) return tl::unexpected(at_argument(read.error()));
  std::ranges::transform(read->ignored, read->ignored.begin(), at_argument);
  if (auto earlier = vm::earlier_starts(text)) read->ignored.insert(read->ignored.begin(), std::move(*earlier));
  return read;
}

/// XML begins with '<', which no configuration does.
tl::expected<vm::ReadVm, Diagnostic> read_domain(std::string_view bytes, const vmx::Backend& silicon) {
  const std::string_view text = TRY(vm::readable(bytes));
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos)
    return tl::unexpected(
        Diagnostic{{}, "found nothing, expected a configuration, libvirt's domain XML, or QEMU's command line"});
  if (text[first] == '<') return vm::from_libvirt(text);
  if (auto other = vm::no_configuration(text, "a configuration, libvirt's domain XML, or QEMU's command line"))
    return tl::unexpected(std::move(*other));
  if (vm::is_command(text)) return read_command(text);
  auto read = TRY(read_config(text));
  if (read.config.epc_is_paged())
    return tl::unexpected(
        Diagnostic{read.config.position_of("epc_min"),
                   "'epc_min': EPC that is paged cannot be rendered; expected as much as 'epc', or no 'epc_min'"});
  if (read.config.cpus != CpuPlaces())
    return tl::unexpected(Diagnostic{read.config.position_of("cpus"),
                                     "'cpus': where processors run cannot be rendered; expected no 'cpus'"});
  if (!read.config.disks.empty())
    read.warnings.push_back({read.config.position_of("disk"), "'disk' is not rendered, and ignored"});
  if (!read.config.interfaces.empty())
    read.warnings.push_back({read.config.position_of("vif"), "'vif' is not rendered, and ignored"});
  if (read.config.vsock)
    read.warnings.push_back({read.config.position_of("vsock"), "'vsock' is not rendered, and ignored"});
  if (read.config.virtio_console)
    read.warnings.push_back(
        {read.config.position_of("virtio_console"), "'virtio_console' is not rendered, and ignored"});
  if (read.config.rng) read.warnings.push_back({read.config.position_of("rng"), "'rng' is not rendered, and ignored"});
  if (const auto& platform = read.config.sgx_platform; platform && platform->keys != SgxPlatform::Keys::machine)
    return tl::unexpected(Diagnostic{read.config.position_of("sgx_platform"),
                                     "'sgx_platform': keys of a domain's own, or of a group's, cannot be rendered; "
                                     "expected \"machine\", or no 'sgx_platform'"});
  auto domain = TRY(vm::from_config(read.config, silicon));
  return vm::ReadVm{std::move(domain), std::move(read.warnings)};
}

/// As of configurations, the first 63 of more than 64, and how many more there are.
void tell_ignored(const std::string& file, const std::vector<Diagnostic>& ignored) {
  constexpr std::size_t most = 64;
  const std::size_t told = ignored.size() > most ? most - 1 : ignored.size();
  for (std::size_t i = 0; i < told; ++i)
    spdlog::warn("{}", format(file, {ignored[i].at, "warning: " + ignored[i].message}));
  if (told < ignored.size())
    spdlog::warn("{}", format(file, {{}, fmt::format("warning: {} more are ignored", ignored.size() - told)}));
}

}  // namespace

int render(const RenderArguments& arguments, const vmx::Backend& silicon) {
  const auto refuse = [&](const Diagnostic& diagnostic) {
    spdlog::error("{}", format(arguments.file, diagnostic));
    return exit_status::bad_configuration;
  };
  const auto* target = std::ranges::find(targets, arguments.target, &Target::name);
  if (target == std::end(targets)) {
    spdlog::error("cloister: unknown target '{}'", arguments.target);
    return exit_status::bad_configuration;
  }
  const auto bytes = read_within(arguments.file, longest_text);
  if (!bytes) return refuse({{}, "cannot read: " + bytes.error()});
  auto domain = read_domain({reinterpret_cast<const char*>(bytes->data()), bytes->size()}, silicon);
  if (!domain) return refuse(domain.error());
  tell_ignored(arguments.file, domain->ignored);

  if (target->absolute_paths) make_absolute(domain->vm);
  std::optional<policy::CpuMap> map;
  if (!arguments.libvirt.empty() && target->by_libvirt) {
    auto at_hand = map_at_hand(arguments.libvirt);
    if (!at_hand) {
      spdlog::error("{}", at_hand.error());
      return exit_status::bad_configuration;
    }
    map = std::move(at_hand->map);
  }
  vm::Rendered rendered = target->render(domain->vm, silicon, map ? &*map : nullptr);
  if (map) lose_what_map_lacks(domain->vm, *map, rendered.losses);
  std::ptrdiff_t refused = 0;
  for (const vm::Loss& loss : rendered.losses) {
    const std::string what = fmt::format("{}: {}", loss.what, loss.why);
    if (arguments.lossy || loss.minor) {
      spdlog::warn("{}", format(arguments.file, {{}, "warning: left out " + what}));
    } else {
      spdlog::error("{}", format(arguments.file, {{}, "cannot be said: " + what}));
      ++refused;
    }
  }
  if (refused != 0) {
    spdlog::error("cloister: use --lossy to leave {} out", refused == 1 ? "it" : "them");
    return status::failed;
  }
  return print(rendered.text) ? status::good : status::failed;
}

}  // namespace cloister::toolstack::cpu
