// The daemon's secrets in its state folder: the platform's, the one that keys are wrapped with, and the machine's key.
// Each start finds them, or makes one that nothing hangs on yet.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "daemon/machine_key.hpp"
#include "daemon/registry.hpp"
#include "machine/platform_secret.hpp"

namespace cloister::toolstack {

struct Secrets {
  PlatformSecret platform{};  ///< of domains whose platform is "machine", and of all that earlier versions started
  WrapSecret wrap{};
  MachineKey machine{};
  WrapSecret moves{};  ///< this machine's words about moves, and their sessions, come from it (secret_of_moves())
};

/// Of both: a copy of the state folder that has become another machine says nothing in this one's name.
WrapSecret secret_of_moves(const WrapSecret& wrap, const MachineKey& machine);

/// What is made although there is what hangs on it. An error if none of it is missing.
struct SecretsAnew {
  bool secrets = false;  ///< platform and wrap; keys that can then never be understood are set aside
  bool machine_key = false;
};

tl::expected<Secrets, std::string> open_secrets(const Registry& registry, const DaemonPaths& paths,
                                                const SecretsAnew& anew);

/// Why a start would not find its secrets; notes: those that it would make.
struct SecretsSeen {
  std::vector<std::string> wrong, notes;
};
SecretsSeen look_at_secrets(int state, const DaemonPaths& paths, bool used, bool keyed, const SecretsAnew& anew);

}  // namespace cloister::toolstack
