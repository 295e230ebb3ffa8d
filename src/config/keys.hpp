// The keys of a configuration file, as data: documentation, defaults and readers come from one table.
#pragma once

#include <span>
#include <string_view>
#include <tl/expected.hpp>

#include "config/domain_config.hpp"
#include "config/xl/parser.hpp"

namespace cloister::toolstack {

/// State that keys leave for each other until all are read.
struct Draft {
  DomainConfig config;
  std::optional<std::string> cmdline, root, extra;
};

struct Key {
  std::string_view name;
  std::string_view type;      ///< "string", "integer", "boolean"
  std::string_view fallback;  ///< default as the documentation gives it; "required" if there is none
  std::string_view doc;       ///< one sentence
  tl::expected<void, Diagnostic> (*read)(Draft&, const xl::Setting&);
};

std::span<const Key> keys();

}  // namespace cloister::toolstack
