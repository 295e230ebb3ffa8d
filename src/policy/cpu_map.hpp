// A map of CPU features and models as libvirt ships one: which bits a name stands for, and which names a model consists
// of. A value; interop/cpu_map_xml.hpp reads it from libvirt's files.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.hpp"

namespace cloister::policy {

/// Bits of one leaf's registers that make up a feature; all of them must be set.
struct MapBits {
  u32 leaf = 0, subleaf = 0;
  CpuidRegs mask;
  bool operator==(const MapBits&) const = default;
};

struct MapFeature {
  std::string name;
  std::vector<std::string> aliases = {};
  std::optional<MapBits> cpuid = {};  ///< absent: the feature is a bit of an MSR
  std::vector<MapBits> also = {};     ///< bits of further leaves that it consists of
  std::optional<u32> msr = {};        ///< its index
  u64 msr_bits = 0;                   ///< of the register; 0: not known
  bool migratable = true;
  bool operator==(const MapFeature&) const = default;
};

struct MapModel {
  std::string name, vendor;
  std::vector<u32> signatures;            ///< leaf 1 EAX, with stepping 0 where the map says family and model only
  std::vector<std::string> features;      ///< of the model and of those it is made from, each once
  std::vector<std::string> removed = {};  ///< of its own; models made from it are without them
  bool for_host = true;                   ///< <decode host='…'>: may be what a host is called
  bool for_guest = true;                  ///< <decode guest='…'>: may be what a baseline is called
  bool operator==(const MapModel&) const = default;
};

struct CpuMap {
  std::vector<MapFeature> features;
  std::vector<MapModel> models;
  /// What the reader does not know the meaning of, each kind once with its place: what the map says beyond this.
  std::vector<std::string> unread = {};
  const MapFeature* find_feature(std::string_view name) const;  ///< by name or alias
  const MapModel* find_model(std::string_view name) const;
  bool operator==(const CpuMap&) const = default;
};

/// The one bit.
MapBits bits_of(const CpuidBit& bit);

/// All of the bits are set, as far as is known: one that is not set is enough for `no`.
Known says(const CpuidTable& table, const MapBits& bits);
/// All bits of the feature are set; false for one of an MSR.
bool has(const CpuidTable& table, const MapFeature& feature);

}  // namespace cloister::policy
