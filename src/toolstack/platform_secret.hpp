// The platform's root secret: 32 random bytes made at the first start and kept in the machine's state, readable by
// their owner only. Every key of the software silicon comes from it, so sealed data outlives a domain.
#pragma once

#include <array>
#include <string>
#include <tl/expected.hpp>

#include "arch/types.hpp"

namespace cloister::toolstack {

using PlatformSecret = std::array<u8, 32>;

/// Where the state lies: $CLOISTER_STATE, else $XDG_STATE_HOME/cloister, else $HOME/.local/state/cloister; empty if
/// none of them is set.
std::string state_folder();

/// Reads the secret from `folder`, or makes folder (mode 0700) and secret (0600). An error names the file; it never
/// replaces a file that is there.
tl::expected<PlatformSecret, std::string> platform_secret(const std::string& folder);

/// What a deterministic run uses instead: the same on every machine.
PlatformSecret fixed_platform_secret();

/// 64 random bits: one power-on of the platform from another.
u64 random_boot_number();

}  // namespace cloister::toolstack
