// Which description counts, and what it means to the accounts.
#include "machine/machine.hpp"

#include <filesystem>

#include "host/whole_file.hpp"

namespace cloister::toolstack {

namespace {

tl::expected<MachineDescription, std::string> read_machine_file(const std::string& path) {
  const auto text = read_within(path, longest_text);
  if (!text) return tl::unexpected(format(path, {{}, "cannot read: " + text.error()}));
  auto machine = read_machine({reinterpret_cast<const char*>(text->data()), text->size()});
  if (!machine) return tl::unexpected(format(path, machine.error()));
  machine->origin = path;
  return std::move(*machine);
}

}  // namespace

std::string_view name_of(LaunchControl state) {
  switch (state) {
    case LaunchControl::none: return "none";
    case LaunchControl::unwritable: return "unwritable";
    case LaunchControl::locked: return "locked";
    case LaunchControl::unlocked: break;
  }
  return "unlocked";
}

MachineDescription default_machine() {
  MachineDescription machine;
  machine.packages = {{.epc = {{.base = u64{4} << 30, .bytes = u64{256} << 20, .node = 0, .faulty = {}}}}};
  machine.origin = "the default";
  return machine;
}

tl::expected<MachineDescription, std::string> load_machine(const std::optional<std::string>& path,
                                                           const std::function<HostEpc()>& host) {
  std::error_code ignored;
  const bool described = path || std::filesystem::exists(machine_file, ignored);
  auto machine = described ? read_machine_file(path.value_or(machine_file)) : MachineDescription{};
  if (!machine || !machine->packages.empty()) return machine;
  const HostEpc found = host();
  const MachineDescription otherwise = default_machine();
  machine->packages = found.sgx ? found.packages : otherwise.packages;
  machine->sgx_off = found.sgx ? found.sgx_off : otherwise.sgx_off;
  if (!described) machine->origin = found.sgx ? "this host's CPUID" : otherwise.origin;
  return machine;
}

MachineEpcSpec epc_spec(const MachineDescription& machine) {
  MachineEpcSpec spec{.sections = {}, .packages = static_cast<u32>(machine.packages.size()), .keys = machine.keys};
  for (u32 package = 0; package < spec.packages; ++package) {
    for (const EpcSectionDescription& section : machine.packages[package].epc) {
      const arch::Mfn first = arch::frame_of(arch::Hpa{section.base});
      spec.sections.push_back(
          {.frames = {first, section.bytes / arch::page_size}, .package = package, .node = section.node});
    }
  }
  return spec;
}

}  // namespace cloister::toolstack
