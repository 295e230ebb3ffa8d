// A domain in the daemon's table. Guarded by the table's lock; what never changes once it is there may be read without.
#pragma once

#include "daemon/domains.hpp"

namespace cloister::toolstack {

struct Domains::Domain {
  DomainRecord record;
  DomainConfig config;

  /// The VMM: readable when it has ended, and nothing else is taken for its end. Without one, there is no VMM yet, or
  /// it is not known whether it lives: then the domain keeps what it has.
  Fd process;
  int pid = 0;                 ///< 0: without `process`
  bool found = false;          ///< an earlier daemon's
  bool ending = false;         ///< its VMM is dead, and end() is at work
  std::string unread;          ///< why its record cannot be understood; then the file stays as it is, and is set aside
                               ///< at the domain's end. Empty: it can
  std::string frames_unknown;  ///< why it may have frames that the accounts do not have as its own; empty: they do
  std::string last_words;      ///< of the VMM: how it ended, if the kernel told us
  std::string fate;  ///< for the log, why the daemon ends it: "destroyed", "creation-failed"; empty: it does not

  vmx::EpcMemory::Pointer memory;          ///< null: no EPC, or not at hand
  std::shared_ptr<const DomainPage> page;  ///< null: not yet, or not at hand
};

ApiError no_such_domain(const std::string& key);

}  // namespace cloister::toolstack
