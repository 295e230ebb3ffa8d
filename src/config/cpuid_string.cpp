// The string form, item by item.
#include "config/cpuid_string.hpp"

#include <algorithm>

#include "text/shown.hpp"
#include "text/trimmed.hpp"

namespace cloister::toolstack {

namespace {

using Refused = tl::unexpected<std::string>;

/// libxl's keys that set a number rather than a feature.
constexpr std::string_view numeric_keys[] = {"apicidsize", "brandid", "family",  "localapicid",
                                             "maxhvleaf",  "maxleaf", "model",   "nc",
                                             "proccount",  "procpkg", "stepping"};

std::string in_quotes(std::string_view text) { return "'" + cut(text) + "'"; }

}  // namespace

tl::expected<std::vector<policy::CpuidOverride>, std::string> read_cpuid_string(std::string_view text) {
  std::vector<std::pair<const policy::Feature*, bool>> forced;
  bool first = true;
  for (bool more = true; more; first = false) {
    const std::size_t comma = text.find(',');
    const std::string_view item = trimmed(text.substr(0, comma));
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);

    if (first) {
      if (item != "host") return Refused("found " + in_quotes(item) + ", expected the word 'host' first");
      continue;
    }
    if (item.empty() && !more) break;  // a trailing comma
    const std::size_t equals = item.find('=');
    if (equals == std::string_view::npos) return Refused("found " + in_quotes(item) + ", expected FEATURE=VALUE");
    const std::string_view name = trimmed(item.substr(0, equals)), value = trimmed(item.substr(equals + 1));
    if (std::ranges::find(numeric_keys, name) != std::end(numeric_keys)) {
      return Refused(in_quotes(name) + " sets a number; only single features can be set here");
    }
    const policy::Feature* feature = policy::find_feature(name);
    if (feature == nullptr) return Refused(policy::unknown_feature(name));
    if (value.size() != 1 || std::string_view("01xks").find(value[0]) == std::string_view::npos) {
      return Refused("found " + in_quotes(value) + " for " + in_quotes(name) + ", expected one of 0, 1, x, k, s");
    }
    std::erase_if(forced, [&](const auto& other) { return *other.first == *feature; });
    if (value == "0" || value == "1") forced.emplace_back(feature, value == "1");
  }
  std::vector<policy::CpuidOverride> overrides;
  for (const auto& [feature, on] : forced) overrides.push_back({std::string(feature->name), on});
  return overrides;
}

std::string cpuid_string(const std::vector<policy::CpuidOverride>& overrides) {
  std::string text = "host";
  for (const policy::CpuidOverride& change : overrides)
    text.append(",").append(change.feature).append(change.on ? "=1" : "=0");
  return text;
}

}  // namespace cloister::toolstack
