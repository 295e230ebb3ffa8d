// The hosts of a pool as `cloister cpu baseline` tells them apart: by short names, by their EPC, and in groups of which
// all are equal.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "policy/level.hpp"

namespace cloister::toolstack::cpu {

/// Hosts as columns and rows have them: file names without folders, where those tell them apart, else without the
/// folders that all have.
std::vector<std::string> short_names(const policy::Baseline& baseline);

/// "93 MiB + 64 MiB (property 2)".
std::string epc_text(const std::optional<std::vector<policy::EpcSectionView>>& epc);

/// The first of each group of equal hosts stands for all of them.
policy::Baseline of_groups(const policy::Baseline& whole);

}  // namespace cloister::toolstack::cpu
