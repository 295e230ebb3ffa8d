// What the daemon knows of a domain beside the table: of one that is saved, and of a VMM that it finds again. Guarded
// by the table's lock.
#pragma once

#include <memory>
#include <string>

#include "daemon/domain.hpp"
#include "daemon/domain_info.hpp"

namespace cloister::toolstack {

/// One that is being saved, or was.
struct DomainSave {
  std::shared_ptr<Domain> domain;  ///< null: it is over
  std::string file;
  bool going = true, enclaves = false, snapshot = false;
  std::string failed{};
  DomainInfo last{};
};

/// What a VMM holds of what the daemon keeps beside it.
struct Handover {
  std::shared_ptr<const DomainPage> page;
  vmx::EpcMemory::Pointer memory;
  Fd log;  ///< where it writes its lines from now on; none: it does not know how
};

}  // namespace cloister::toolstack
