// The keys of a configuration file, as data: documentation, defaults, readers and writers come from one table.
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

/// How a key's value is read into a domain and written from one, as a file has it.
struct Form {
  tl::expected<void, Diagnostic> (*read)(Draft&, const xl::Setting&);
  std::optional<std::string> (*write)(const DomainConfig&);  ///< nullopt: there is none to write
};

struct Key {
  std::string_view name;
  std::string_view type;      ///< "string", "integer", "boolean"
  std::string_view fallback;  ///< default as the documentation gives it; "required" if there is none
  std::string_view doc;       ///< one sentence
  Form value;
};

/// In the order in which they are documented and written.
std::span<const Key> keys();

}  // namespace cloister::toolstack
