// One allocation, as the daemon would make it.
#include "run/run_epc.hpp"

#include "arch/sizes.hpp"
#include "machine/epc/machine_epc.hpp"

namespace cloister::toolstack {

namespace {}  // namespace

MachineDescription machine_for(const DomainConfig& config) {
  MachineDescription machine = default_machine();
  u64 frames_mib = 0;
  for (const EpcSection& section : config.epc_frames()) frames_mib += section.mib;
  machine.packages[0].epc[0].bytes = frames_mib << 20;
  return machine;
}

tl::expected<RunEpc, Diagnostic> place_epc(const DomainConfig& config, const MachineDescription& machine) {
  if (config.epc.empty()) return RunEpc{};
  const auto refuse = [&](const std::string& why) {
    return tl::unexpected(Diagnostic{config.position_of("epc"), "'epc': " + why});
  };
  if (!machine.sgx_off.empty()) return refuse("the machine has no SGX: " + machine.sgx_off);
  auto epc = MachineEpc::create(epc_spec(machine));
  if (!epc) return refuse(epc.error());
  std::vector<EpcRequest> requests;
  for (const EpcSection& section : config.epc_frames())
    requests.push_back({.pages = section.mib * arch::pages_per_mib, .package = section.package});
  auto allocation = epc->allocate(EpcOwner{1}, requests);
  if (!allocation) {
    return refuse(describe(allocation.error(), [&](EpcOwner) { return config.name; }));
  }
  return RunEpc{.grants = std::move(allocation->grants), .reason = std::move(allocation->reason)};
}

}  // namespace cloister::toolstack
