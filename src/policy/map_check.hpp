// What a map of libvirt's lacks of our table: the features that libvirt has a word for and this map does not have, or
// has at other bits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/cpu_map.hpp"

namespace cloister::policy {

struct MapFinding {
  Feature expected;     ///< under its first name
  std::string element;  ///< libvirt's <feature> element, as the map should have it
  /// What the map has instead, of that name at other bits, or at these bits of another name; null: nothing. Of the map.
  const MapFeature* found = nullptr;
};

struct MapCheck {
  std::vector<MapFinding> sgx, other;  ///< in the table's order
  std::size_t good = 0;                ///< features that are as expected
  bool complete() const { return sgx.empty() && other.empty(); }
};

/// The map must outlive the result.
MapCheck check_map(const CpuMap& map);

/// "leaf 0x12, sub-leaf 1, EAX 0x00000010"; all registers that have bits.
std::string text_of(const MapBits& bits);

}  // namespace cloister::policy
