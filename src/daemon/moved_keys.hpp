// The keys of a domain that moves with its enclaves alive, on their way to its target: its own, its group's, and what
// its counters were begun with. Wrapped (AES-256-GCM, NIST SP 800-38D) with a key of this move alone, which its
// carriers do not have.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "arch/sgx.hpp"
#include "arch/types.hpp"
#include "machine/platform_secret.hpp"

namespace cloister::toolstack {

struct MovedKeys {
  u64 boot = 0;       ///< of its platform's counters (LaunchKeys)
  u32 power_ons = 0;  ///< DomainKey's, so that no boot number comes twice
  Secret own{};
  std::optional<Secret> group{};

  MovedKeys() = default;
  MovedKeys(const MovedKeys&) = default;
  MovedKeys& operator=(const MovedKeys&) = default;
  /// Erases them.
  ~MovedKeys();
  bool operator==(const MovedKeys&) const = default;
};

/// In hexadecimal; of one move, by its session, and once.
std::string wrap_moved(const MovedKeys& keys, const arch::Bytes32& with, std::string_view session);
tl::expected<MovedKeys, std::string> unwrap_moved(std::string_view text, const arch::Bytes32& with,
                                                  std::string_view session);

}  // namespace cloister::toolstack
