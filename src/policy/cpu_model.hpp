// A CPU in the words of a CPU map: the nearest model, the features beyond it and those that it has too many. The choice
// is libvirt's (`virsh cpu-baseline`, `virsh capabilities`; tests/oracle/levelling compares them), so that a baseline
// found here is the one that libvirt finds.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/cpu_map.hpp"
#include "policy/host_view.hpp"
#include "policy/known.hpp"

namespace cloister::policy {

/// What <cpu mode='custom'> says.
struct NamedCpu {
  std::string vendor;                 ///< as the map spells it; empty: any
  std::string model;                  ///< empty: the map has no models
  std::vector<std::string> required;  ///< beyond the model's, in the order of the alphabet
  std::vector<std::string> disabled;  ///< the model's that are not there, likewise
  bool operator==(const NamedCpu&) const = default;
};

/// A host's CPU as the map sees it.
struct MappedCpu {
  std::string vendor;           ///< as the map spells it; empty: not known
  u32 signature = 0;            ///< leaf 1 EAX; 0: not known
  std::vector<Known> features;  ///< of CpuMap::features, in their order
  bool told = false;            ///< leaf 1's features are among what is known: without them there is no CPU to speak of
  std::string model;            ///< what a tool called the CPU, if the map knows it
};
MappedCpu map_cpu(const HostView& host, const CpuMap& map);

/// A host is called by a model of which it has all features, one of its own signature if there is one; a guest's model
/// may have features too many, which are disabled.
enum class Whose : u8 { host, guest };
/// `has`: of CpuMap::features. `preferred`: models that the hosts are called by. nullopt: no model can be it.
std::optional<NamedCpu> nearest_model(const CpuMap& map, const std::vector<bool>& has, std::string_view vendor,
                                      u32 signature, Whose whose, const std::vector<std::string>& preferred = {});
/// What the host is called, by the tool that described it or else as `Whose::host`; nullopt if it does not tell its
/// features, or no model can be it.
std::optional<NamedCpu> name_host(const MappedCpu& host, const CpuMap& map);

/// The map's feature in features(); null if it is not there, or several bits.
const Feature* feature_of(const MapFeature& feature);
bool is_sgx(const MapFeature& feature);

/// A map of features() alone, without models, for where there is no libvirt.
CpuMap map_of_features();

/// Bits that no guest can be promised, by the map's name: those that mirror CR4's OSXSAVE and PKE, the topology or a
/// hypervisor, and the monitoring of caches, which is the host's (SDM vol. 2A, CPUID, tables 3-8, 3-10, 3-11; libvirt
/// leaves out the latter for QEMU too).
bool never_a_guests(std::string_view map_feature);

}  // namespace cloister::policy
