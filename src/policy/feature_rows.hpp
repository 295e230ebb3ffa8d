// The table of CPU features: a row is a bit, and what tools call it. Everything that this program knows of a new
// instruction set begins with its rows here.
#pragma once

#include <span>
#include <string_view>

#include "policy/policy.hpp"

namespace cloister::policy {

struct FeatureRow : CpuidBit {
  std::string_view name;                         ///< the one that is printed
  std::string_view libvirt, qemu, xen, cpuinfo;  ///< empty: none, or a word that others use for an MSR
  std::string_view also = {};                    ///< one more spelling that people use
};

/// Rows of one register stand together.
std::span<const FeatureRow> feature_rows();
/// The row of a bit; null for one that no row has.
const FeatureRow* row_of(const CpuidBit& bit);

}  // namespace cloister::policy
