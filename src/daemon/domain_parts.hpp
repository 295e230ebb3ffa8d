// What a domain is given when it is created, as those hand it on who decide about a part of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "host/fd.hpp"
#include "vmx/package.hpp"

namespace cloister::toolstack {

/// Which uuid it gets, and keys if it has EPC, unless somebody else has them.
struct DomainIdentity {
  std::string uuid;
  std::optional<SgxPlatform> platform;
};

/// What its VMM gets of its virtual platform; null and none without EPC.
struct DomainPlatform {
  Fd keys;
  vmx::MachineCounters::Pointer counters;
  u64 boot = 0;  ///< of the counters
};

/// Of each package, free pages that it may not have, and why, for a person.
struct KeptFree {
  std::vector<u64> pages;
  std::string why;
};

}  // namespace cloister::toolstack
