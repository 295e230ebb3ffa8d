#include "daemon/secrets.hpp"

#include "arch/try.hpp"
#include "daemon/hmac.hpp"
#include "host/log.hpp"

namespace cloister::toolstack {

namespace {

MissingSecret when_missing(bool make_anew, bool wanted) {
  return wanted && !make_anew ? MissingSecret::refuse : MissingSecret::make;
}

/// Of a secret that is lost: as they are, they would stand in the way of new ones.
tl::expected<void, std::string> set_keys_aside(const Registry& registry) {
  const auto keys = TRY(registry.keys());
  for (const KeyFile& file : keys.files) {
    const auto moved = TRY(registry.set_aside_key(file.name));
    log(LogLevel::error, "key-set-aside", {{"file", moved}, {"error", "the wrap-secret is missing"}});
  }
  return {};
}

}  // namespace

WrapSecret secret_of_moves(const WrapSecret& wrap, const MachineKey& machine) {
  return {hmac_sha256(wrap.bytes, "cloister moves of " + to_text(machine.public_key()))};
}

tl::expected<Secrets, std::string> open_secrets(const Registry& registry, const DaemonPaths& paths,
                                                const SecretsAnew& anew) {
  const bool make_anew = anew.secrets;
  const int state = registry.state();
  const bool wrap_missing = !has_secret(state, wrap_secret_file);
  const bool none_missing = !wrap_missing && has_secret(state, platform_secret_file);
  const auto platform =
      TRY(secret_in(state, paths.state, platform_secret_file,
                    make_anew && none_missing ? MissingSecret::must_be : when_missing(make_anew, registry.used())));
  if (make_anew && wrap_missing) {
    TRY(set_keys_aside(registry));
  }
  const auto wrap = TRY(secret_in(state, paths.state, wrap_secret_file, when_missing(make_anew, registry.has_keys())));
  const auto machine = TRY(open_machine_key(state, paths.state, anew.machine_key));
  return Secrets{.platform = platform, .wrap = {wrap}, .machine = machine, .moves = secret_of_moves({wrap}, machine)};
}

SecretsSeen look_at_secrets(int state, const DaemonPaths& paths, bool used, bool keyed, const SecretsAnew& anew) {
  SecretsSeen seen;
  const auto look = [&](const SecretFile& file, bool wanted) {
    if (!has_secret(state, file) && (!wanted || anew.secrets)) {
      seen.notes.push_back(std::string("no ").append(file.name).append(": a start makes it"));
    } else if (const auto secret = secret_in(state, paths.state, file, MissingSecret::refuse); !secret) {
      seen.wrong.push_back(secret.error());
    }
  };
  look(platform_secret_file, used);
  look(wrap_secret_file, keyed);
  bool made = false;
  if (const auto why = look_at_machine_key(state, paths.state, anew.machine_key, made); !why.empty()) {
    seen.wrong.push_back(why);
  } else if (made) {
    seen.notes.push_back(std::string("no ").append(machine_key_file.name).append(": a start makes it"));
  }
  return seen;
}

}  // namespace cloister::toolstack
