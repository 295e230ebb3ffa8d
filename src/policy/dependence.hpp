// Which feature means nothing without which other one (SDM vol. 1, ch. 10 to 18 "detection"; vol. 3D, 37.7.2): a policy
// never reports a feature whose ground is missing.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "policy/policy.hpp"

namespace cloister::policy {

/// `feature` means nothing without `needs`.
struct Dependence {
  std::string_view feature, needs;
};
/// Direct dependences, by the features' first names; what needs another one stands after that one's own.
std::span<const Dependence> dependences();

void put(CpuidTable& table, const CpuidBit& bit, bool on);

/// Clears every feature that needs one which the table does not have, until nothing changes.
void clear_dependents(CpuidTable& table);

/// A feature that the bit's needs, directly or not, and that the table does not have.
std::optional<std::string_view> missing_ground(const CpuidTable& table, const CpuidBit& bit);

}  // namespace cloister::policy
