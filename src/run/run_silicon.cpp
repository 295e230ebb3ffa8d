#include "run/run_silicon.hpp"

#include <optional>

#include "arch/try.hpp"
#include "machine/platform_secret.hpp"
#include "run/saved_file.hpp"
#include "stream/reader.hpp"

namespace cloister::toolstack {

namespace {

tl::expected<HostFeatures, std::string> saved_host_features(const std::string& file) {
  stream::Reader saved(TRY(open_saved_file(file)));
  const auto shape = saved.value<hypervisor::DomainShape>(stream::Kind::domain);
  if (!shape) return tl::unexpected(file + ": " + shape.error());
  return host_features_of(*shape);
}

}  // namespace

tl::expected<ChosenSilicon, Diagnostic> silicon_of_run(const vmx::Backend& silicon, const DomainConfig& config,
                                                       const MachineDescription& machine, const std::string& saved,
                                                       bool deterministic) {
  std::optional<HostFeatures> host;
  if (!saved.empty()) {
    auto had = saved_host_features(saved);
    if (!had) return tl::unexpected(Diagnostic{{}, had.error()});
    host = std::move(*had);
  } else if (deterministic) {
    host = demanded_host_features(config);
  }
  return choose_silicon(silicon, config, machine.silicon, read_dump, host);
}

tl::expected<vmx::Package::Config, std::string> package_of(const PackageValues& values, const Grants& grants,
                                                           bool fixed_keys) {
  vmx::Package::Config package = package_config(values, grants);
  if (grants.empty()) return package;
  if (fixed_keys) {
    package.root_secret = fixed_platform_secret();
    return package;
  }
  package.root_secret = TRY(platform_secret(state_folder()));
  package.boot = random_boot_number();
  return package;
}

}  // namespace cloister::toolstack
