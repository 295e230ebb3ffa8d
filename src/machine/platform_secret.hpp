// Secrets of a machine: 32 random bytes each, made at the first start and kept in the machine's state, readable by
// their owner only. Keys of the software silicon come from the platform's, so sealed data outlives a domain; the wrap
// secret keeps the keys of the daemon's domains (daemon/domain_key.hpp).
#pragma once

#include <array>
#include <string>
#include <tl/expected.hpp>

#include "arch/types.hpp"

namespace cloister::toolstack {

using Secret = std::array<u8, 32>;
using PlatformSecret = Secret;

/// What the keys of domains are wrapped with. Another type than all that a VMM may be given, which this never is.
struct WrapSecret {
  Secret bytes{};
  bool operator==(const WrapSecret&) const = default;
};

/// Where the state lies: $CLOISTER_STATE, else $XDG_STATE_HOME/cloister, else $HOME/.local/state/cloister; empty if
/// none of them is set.
std::string state_folder();

enum class MissingSecret : u8 {
  make,    ///< one that is missing is made
  refuse,  ///< it must be there
  must_be  ///< a new one is made, and there must be none
};

/// A secret's file in the state folder, and what is said of it.
struct SecretFile {
  const char* name;
  const char* what;                   ///< "the platform's secret"
  const char* lost;                   ///< what is lost with it
  const char* anew = "--new-secret";  ///< the daemon's option that makes another one
};
inline constexpr SecretFile platform_secret_file{"platform-secret", "the platform's secret",
                                                 "all keys of the enclaves here"};
inline constexpr SecretFile wrap_secret_file{"wrap-secret", "the secret that domains' keys are wrapped with",
                                             "all keys of domains here"};

/// Reads a secret from a folder that is open, or makes it there, mode 0600. An error names the file; it never
/// replaces a file that is there.
tl::expected<Secret, std::string> secret_in(int folder, const std::string& path, const SecretFile& file,
                                            MissingSecret missing);
/// Whether there is such a file, whatever is in it.
bool has_secret(int folder, const SecretFile& file);
/// 32 random bytes, from the kernel.
Secret random_secret();

/// The platform's in `folder`, which is made (mode 0700) if it is missing, and must be this user's alone.
tl::expected<PlatformSecret, std::string> platform_secret(const std::string& folder);

/// What a deterministic run uses instead: the same on every machine.
PlatformSecret fixed_platform_secret();

/// 64 random bits: one power-on of the platform from another.
u64 random_boot_number();

}  // namespace cloister::toolstack
