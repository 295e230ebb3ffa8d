// The key by which this machine is known to others (docs/migration.md): an Ed25519 key pair (RFC 8032), made at the
// daemon's first start and kept in its state folder. The public half lies beside it: who lost the private one is told
// so, instead of being another machine from then on.
#pragma once

#include <span>
#include <string>
#include <tl/expected.hpp>

#include "machine/platform_secret.hpp"
#include "machine/public_key.hpp"

namespace cloister::toolstack {

using Signature = std::array<u8, 64>;

/// Another type than all that a VMM may be given, which this never is.
struct MachineKey {
  Secret seed{};
  PublicKey public_key() const;
  Signature sign(std::span<const u8> text) const;
  bool operator==(const MachineKey&) const = default;
};

bool is_signed_by(const PublicKey& key, std::span<const u8> text, const Signature& signature);

inline constexpr SecretFile machine_key_file{"machine-key", "the machine's key", "what other machines know this one by",
                                             "--new-machine-key"};
inline constexpr const char* public_key_file = "machine-key.pub";

/// Reads it from a state folder, or makes it there if nothing says that there was one. make_anew: although there was
/// one; an error if it is there. `path`: the folder's.
tl::expected<MachineKey, std::string> open_machine_key(int state, const std::string& path, bool make_anew);

/// Why a start would not find it; empty: it would, or make it, which `made` says.
std::string look_at_machine_key(int state, const std::string& path, bool make_anew, bool& made);

}  // namespace cloister::toolstack
