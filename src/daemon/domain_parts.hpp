// What a domain is given when it is created, as those hand it on who decide about a part of it; and where those stand
// who share the EPC among domains.
#pragma once

#include <chrono>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "host/fd.hpp"
#include "machine/epc/balance.hpp"
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

/// Of lending and taking back EPC, from one turn to the next.
struct EpcTurns {
  std::map<u32, EpcBalance> balances;          ///< by package
  std::map<u32, u64> claims;                   ///< pages, by package
  std::map<u32, std::future<void>> transfers;  ///< by domain
  std::chrono::steady_clock::time_point next;  ///< not before
  u32 first = 0;                               ///< a package: another one each time
};

}  // namespace cloister::toolstack
