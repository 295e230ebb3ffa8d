// Which packages a domain's EPC comes from: a pure function over what is free.
#pragma once

#include <span>
#include <tl/expected.hpp>
#include <vector>

#include "machine/epc/accounts.hpp"

namespace cloister::toolstack {

struct Placement {
  std::vector<u32> packages;  ///< of each request
  std::string reason;
};

/// `free`: pages, by package. The refusal has no account of the packages yet.
tl::expected<Placement, EpcRefusal> place(std::span<const EpcRequest> requests, std::span<const u64> free,
                                          KeySharing keys);

}  // namespace cloister::toolstack
