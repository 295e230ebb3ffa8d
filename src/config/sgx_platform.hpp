// Whose keys a domain's processor has: `sgx_platform` in configurations, and in what the daemon keeps of domains.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "arch/types.hpp"

namespace cloister::toolstack {

struct SgxPlatform {
  enum class Keys : u8 {
    own,     ///< "private": the domain's own, in all
    group,   ///< "group:NAME": REPORT, SEAL, provisioning and launch keys are those of all domains of the group
    machine  ///< "machine": the same, of all such domains of the machine, and of all that earlier versions made
  };
  Keys keys = Keys::own;
  std::string group{};
  bool operator==(const SgxPlatform&) const = default;
};

std::string to_text(const SgxPlatform& platform);
/// The error is what was expected, for "found …, expected …".
tl::expected<SgxPlatform, std::string> read_sgx_platform(std::string_view text);

}  // namespace cloister::toolstack
