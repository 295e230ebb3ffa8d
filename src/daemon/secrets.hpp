// The daemon's secrets in its state folder: the platform's, and the one that keys are wrapped with. Each start finds
// both, or makes one that nothing hangs on yet.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "daemon/registry.hpp"
#include "machine/platform_secret.hpp"

namespace cloister::toolstack {

struct Secrets {
  PlatformSecret platform{};  ///< of domains whose platform is "machine", and of all that earlier versions started
  WrapSecret wrap{};
};

/// make_anew: those that are missing are made, although there is what hangs on them; keys that can then never be
/// understood are set aside. An error if none is missing.
tl::expected<Secrets, std::string> open_secrets(const Registry& registry, const DaemonPaths& paths, bool make_anew);

/// Why a start would not find its secrets; notes: those that it would make.
struct SecretsSeen {
  std::vector<std::string> wrong, notes;
};
SecretsSeen look_at_secrets(int state, const DaemonPaths& paths, bool used, bool keyed, bool make_anew);

}  // namespace cloister::toolstack
