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

enum class MissingSecret : u8 {
  make,    ///< one that is missing is made
  refuse,  ///< it must be there
  must_be  ///< a new one is made, and there must be none
};

/// Reads the secret from a folder that is open, or makes it there, mode 0600. An error names the file; it never
/// replaces a file that is there.
tl::expected<PlatformSecret, std::string> platform_secret_in(int folder, const std::string& path,
                                                             MissingSecret missing);

/// The same in `folder`, which is made (mode 0700) if it is missing, and must be this user's alone.
tl::expected<PlatformSecret, std::string> platform_secret(const std::string& folder);

/// What a deterministic run uses instead: the same on every machine.
PlatformSecret fixed_platform_secret();

/// 64 random bits: one power-on of the platform from another.
u64 random_boot_number();

}  // namespace cloister::toolstack
