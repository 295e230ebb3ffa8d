// The room's door: from the text of a configuration file to a domain's checked values, and back.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/domain_config.hpp"

namespace cloister::toolstack {

/// More warnings than anybody reads: what is said of a text is not longer the more there is wrong with it.
inline constexpr std::size_t most_warnings = 64;

struct ReadConfig {
  DomainConfig config;
  /// Of what was ignored, in the order of the file; of more than most_warnings the last one says how many.
  std::vector<Diagnostic> warnings;
};

/// Reads and checks the text of a configuration file; the error is the first one.
tl::expected<ReadConfig, Diagnostic> read_config(std::string_view text);

/// A text that read_config() takes, of the keys that are not as by default or that `where` has.
std::string write_config(const DomainConfig& config);
/// One key's line of it; empty if it has none.
std::string write_key(std::string_view key, const DomainConfig& config);

}  // namespace cloister::toolstack
