// The program cloisterd: broker of the machine's EPC, registry of its domains, and their API.
#pragma once

#include <optional>
#include <string>

namespace cloister::toolstack {

struct DaemonArguments {
  std::string state = "/var/lib/cloister", run = "/run/cloister";
  std::optional<std::string> machine;  ///< file; none: /etc/cloister/machine.toml, the host, or the default
  std::string vmm;                     ///< empty: cloister-vmm beside this program
};

/// Until SIGTERM or SIGINT; domains go on. The process's exit status.
int run_daemon(const DaemonArguments& arguments);

}  // namespace cloister::toolstack
