// `epc`: a number of MiB, or a list with a string for each virtual section, "size=MIB" or "size=MIB,package=N".
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/domain_config.hpp"
#include "config/xl/parser.hpp"

namespace cloister::toolstack {

/// `setting` is a list. most_mib: of all sections together. The error stands at the element.
tl::expected<std::vector<EpcSection>, Diagnostic> read_epc_sections(const xl::Setting& setting, u64 most_mib);
/// The number if that says all, else the list.
std::string epc_sections_text(const std::vector<EpcSection>& sections);

}  // namespace cloister::toolstack
