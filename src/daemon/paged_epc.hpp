// What a domain that sees more EPC than it has (epc_min) has at the moment, and what its pager did: from its record and
// its page. What a VMM wrote is shown, and no more.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "daemon/domain.hpp"

namespace cloister::toolstack {

/// Pages, unless they say something else.
struct PagedEpc {
  EpcPaging mode = EpcPaging::oss;  ///< trap or oss
  u64 min = 0;                      ///< that it always has
  u32 weight = 100;
  u64 target = 0;  ///< that it is to have
  u64 held = 0;    ///< that it has: for its pages, for versions, free
  u64 resident = 0, active = 0, evicted = 0, lost = 0;
  u64 loads = 0, load_ns = 0, evictions = 0, gates = 0, gate_ns = 0;  ///< since it began
};

/// nullopt: it has a frame for each page.
std::optional<PagedEpc> paged_epc(const Domain& domain);
nlohmann::json to_json(const PagedEpc& paged);

}  // namespace cloister::toolstack
