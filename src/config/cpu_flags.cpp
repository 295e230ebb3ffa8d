// A list of names, with commas or blanks between them.
#include "config/cpu_flags.hpp"

#include <algorithm>

#include "policy/flags.hpp"
#include "policy/libvirt_features.hpp"

namespace cloister::toolstack {

void put_cpu_flag(std::vector<policy::CpuidOverride>& flags, policy::CpuidOverride flag) {
  std::erase_if(flags, [&](const policy::CpuidOverride& other) { return other.feature == flag.feature; });
  flags.push_back(std::move(flag));
}

tl::expected<std::vector<policy::CpuidOverride>, std::string> read_cpu_flags(std::string_view text) {
  constexpr std::string_view between = ", \t\n";
  std::vector<policy::CpuidOverride> flags;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(between), text.size()));
    if (text.empty()) return flags;
    std::string_view name = text.substr(0, text.find_first_of(between));
    text.remove_prefix(name.size());
    const bool on = name.front() != '-';
    if (!on || name.front() == '+') name.remove_prefix(1);
    if (const policy::Feature* const feature = policy::find_spelling(name, policy::Tool::libvirt)) {
      put_cpu_flag(flags, {std::string(feature->name), on});
    } else if (const policy::MapFeature* const bit = policy::more_of_libvirts_features().find_feature(name)) {
      put_cpu_flag(flags, {bit->name, on});
    } else {
      return tl::unexpected(policy::unknown_feature(name));
    }
  }
}

std::string cpu_flags_text(const std::vector<policy::CpuidOverride>& flags) {
  std::string text;
  for (const policy::CpuidOverride& flag : flags)
    text.append(text.empty() ? "" : ",").append(flag.on ? "" : "-").append(flag.feature);
  return text;
}

}  // namespace cloister::toolstack
