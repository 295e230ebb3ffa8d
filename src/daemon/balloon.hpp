// What a domain's guest has given back of its EPC, and what is to become of it: by its page, and by what is its own. A
// VMM may write anything there; it gets no more than the domain's EPC by it, and is asked for what it says that it does
// not need.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "daemon/domain.hpp"

namespace cloister::toolstack {

/// In pages.
struct Balloon {
  u64 target = 0;  ///< that the guest is asked to have
  u64 given = 0;   ///< that it has given and not taken again
  struct Section {
    u64 spare = 0;  ///< frames that it has and nobody needs
    u64 lacks = 0;  ///< frames that it has not, and needs for pages that it gave
  };
  std::vector<Section> sections{};  ///< of its EPC; empty: it is paged, and its pager has the frames

  u64 lacks() const;
};

/// nullopt: it has no EPC, or an earlier version's VMM.
std::optional<Balloon> balloon_of(const Domain& domain);
nlohmann::json to_json(const Balloon& balloon);

}  // namespace cloister::toolstack
