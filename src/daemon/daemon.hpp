// The program cloisterd: broker of the machine's EPC, registry of its domains, and their API.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "daemon/paths.hpp"
#include "daemon/secrets.hpp"
#include "host/daemon_folders.hpp"
#include "plan/processors.hpp"

namespace cloister::toolstack {

struct DaemonArguments {
  std::string state = default_daemon_state(), run = default_daemon_run();
  std::optional<std::string> machine;  ///< file; none: /etc/cloister/machine.toml, the host, or the default
  std::string vmm;                     ///< empty: cloister-vmm beside this program
  std::string migrate_listen;          ///< HOST:PORT, where other machines bring domains over TLS; empty: nowhere
  SecretsAnew anew{};                  ///< make those anew that are missing
  std::string cgroup = "auto";         ///< DomainCgroups::open()
};

/// Absolute; an error if there is no default.
tl::expected<DaemonPaths, std::string> daemon_paths(const DaemonArguments& arguments);

/// Reads all that a daemon with these folders would, prints what it found, a line each, and changes nothing. 0: it
/// would start, and know all of its domains.
int check_daemon(const DaemonArguments& arguments, const Processors& processors);

/// Until SIGTERM or SIGINT; domains go on. The process's exit status.
int run_daemon(const DaemonArguments& arguments, const Processors& processors);

}  // namespace cloister::toolstack
