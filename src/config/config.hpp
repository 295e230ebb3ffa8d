// The room's door: from the text of a configuration file to a domain's checked values, and back.
#pragma once

#include <string>
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

/// A text that read_config() takes, of the keys that are not as by default or that `where` has.
std::string write_config(const DomainConfig& config);
/// One key's line of it; empty if it has none.
std::string write_key(std::string_view key, const DomainConfig& config);

}  // namespace cloister::toolstack
