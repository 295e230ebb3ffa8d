// The room's door: from the text of a configuration file to a domain's checked values.
#pragma once

#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/domain_config.hpp"

namespace cloister::toolstack {

struct ReadConfig {
  DomainConfig config;
  std::vector<Diagnostic> warnings;  ///< of what was ignored, in the order of the file
};

/// Reads and checks the text of a configuration file; the error is the first one.
tl::expected<ReadConfig, Diagnostic> read_config(std::string_view text);

}  // namespace cloister::toolstack
