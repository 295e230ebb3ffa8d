// What a process that carries a domain over TLS proves with which machine it is of (docs/migration.md, "By TLS"): a key
// of its own, and the machine's word for it, which is a certificate of an hour or two. So the machine's key is in no
// process that reads what strangers send.
#pragma once

#include <string>

#include "daemon/machine_key.hpp"

namespace cloister::toolstack {

struct TransferCredentials {
  std::string certificates;  ///< PEM: the key's, and the machine's own
  std::string key;           ///< PEM; secret
};

/// ahead: seconds by which the clock is taken to be another one than this host's.
TransferCredentials make_transfer_credentials(const MachineKey& machine, long ahead = 0);

}  // namespace cloister::toolstack
