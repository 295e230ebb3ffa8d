// The same way as `cloister run` takes, on memory that the daemon holds too.
#include "vmm/guest.hpp"

#include "host/whole_file.hpp"
#include "hypervisor/epc/clean.hpp"

namespace cloister::toolstack {

namespace {

using Failed = tl::unexpected<Diagnostic>;

Failed failed(std::string why) { return Failed(Diagnostic{{}, std::move(why)}); }

/// The domain's virtual platform; one without EPC has none.
tl::expected<void, std::string> take_platform(const vmx::Backend& silicon, vmx::Package::Config& machine) {
  LaunchKeys keys;
  const auto bytes = read_within(launch_fd::keys, keys.root.size() + keys.paging.size());
  if (!bytes || bytes->size() != keys.root.size() + keys.paging.size()) return tl::unexpected(std::string("no keys"));
  std::copy_n(bytes->begin(), keys.root.size(), keys.root.begin());
  std::copy_n(bytes->begin() + keys.root.size(), keys.paging.size(), keys.paging.begin());
  machine.root_secret = keys.root;
  machine.paging_secret = keys.paging;
  const auto counters = silicon.adopt_counters(launch_fd::counters);
  if (!counters) return tl::unexpected(std::string("the domain's counters: ") + name_of(counters.error()));
  machine.counters = *counters;
  return {};
}

tl::expected<vmx::Package::Config, std::string> machine_of(const vmx::Backend& silicon, const LaunchMessage& launch) {
  vmx::Package::Config machine = package_config(launch.package, launch.grants);
  if (const u64 pages = pages_of(launch.grants); pages != 0) {
    if (auto taken = take_platform(silicon, machine); !taken) return tl::unexpected(taken.error());
    const auto memory = silicon.adopt_epc(launch_fd::epc, launch_fd::epcm, pages);
    if (!memory) return tl::unexpected(std::string("the domain's EPC: ") + name_of(memory.error()));
    machine.memory = *memory;
  }
  return machine;
}

}  // namespace

tl::expected<Guest, Diagnostic> Guest::create(const vmx::Backend& silicon, const LaunchMessage& launch) {
  auto read = read_config(launch.config);
  if (!read) return Failed(read.error());
  auto images = read_images(read->config, launch_fd::kernel, launch_fd::ramdisk);
  if (!images) return Failed(images.error());
  auto machine = machine_of(silicon, launch);
  if (!machine) return failed(machine.error());
  auto plan = make_plan(silicon, read->config, *machine, packages_of(launch.grants));
  if (!plan) return Failed(plan.error());
  auto package = silicon.make_package(std::move(*machine));
  Guest guest(std::move(package), std::move(*plan), std::move(*images), sections_of(launch.grants));
  if (auto made = guest.lay_out(); !made) return failed(made.error());
  return guest;
}

tl::expected<void, std::string> Guest::renew() {
  if (domain_ != nullptr) battery_ = domain_->battery();
  domain_.reset();
  if (const auto stuck = hypervisor::clean_epc(*package_, sections_); !stuck.empty())
    return tl::unexpected(std::to_string(stuck.size()) + " EPC pages cannot be removed");
  return lay_out();
}

tl::expected<void, std::string> Guest::lay_out() {
  auto domain =
      hypervisor::Domain::create(*package_, make_spec(plan_, images_, vmx::ClockMode::host, battery_), sections_);
  if (!domain) return tl::unexpected(domain.error());
  domain_ = std::move(*domain);
  return {};
}

hypervisor::Outcome Guest::run(const hypervisor::RunOptions& options) { return domain_->run(options); }

}  // namespace cloister::toolstack
