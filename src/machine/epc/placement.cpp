// Requests that name a package have it; the others share one, by best fit.
#include "machine/epc/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "arch/try.hpp"

namespace cloister::toolstack {

namespace {

using Why = EpcRefusal::Why;

tl::unexpected<EpcRefusal> refuse(Why why, std::string message) {
  return tl::unexpected(EpcRefusal{.why = why, .message = std::move(message), .packages = {}});
}

/// No sum of page numbers wraps around.
u64 plus(u64 a, u64 b) { return a > ~u64{0} - b ? ~u64{0} : a + b; }

/// What is asked for, added up.
struct Demand {
  std::vector<u64> named;  ///< pages, by package
  std::set<u32> packages;  ///< that are named
  u64 unnamed = 0;         ///< pages of requests that leave the choice to us
};

tl::expected<Demand, EpcRefusal> add_up(std::span<const EpcRequest> requests, std::size_t packages) {
  Demand demand{.named = std::vector<u64>(packages), .packages = {}, .unnamed = 0};
  for (const EpcRequest& request : requests) {
    if (request.pages == 0) return refuse(Why::malformed, "a section of EPC has no pages");
    if (!request.package) {
      demand.unnamed = plus(demand.unnamed, request.pages);
      continue;
    }
    const u32 package = *request.package;
    if (package >= packages) {
      return refuse(Why::unknown_package,
                    packages == 1 ? fmt::format("there is no package {}: the machine has one, package 0", package)
                                  : fmt::format("there is no package {}: the machine has packages 0 to {}", package,
                                                packages - 1));
    }
    demand.packages.insert(package);
    demand.named[package] = plus(demand.named[package], request.pages);
  }
  return demand;
}

/// Where the requests without a package go, and why.
struct Choice {
  u32 package;
  std::string reason;
};

std::optional<Choice> choose(const Demand& demand, std::span<const u64> left, KeySharing keys) {
  if (demand.packages.size() == 1) {
    const u32 home = *demand.packages.begin();
    if (left[home] >= demand.unnamed)
      return Choice{home, fmt::format("package {}: the domain's other EPC is there, and {} more are free", home,
                                      size_text(left[home]))};
    if (keys == KeySharing::separate) return std::nullopt;
  }
  std::optional<u32> best;
  for (u32 package = 0; package < left.size(); ++package) {
    if (left[package] >= demand.unnamed && (!best || left[package] < left[*best])) best = package;
  }
  if (!best) return std::nullopt;
  if (left.size() == 1) return Choice{0, fmt::format("package 0: the machine's only one, {} free", size_text(left[0]))};
  std::string reason = fmt::format("package {}: {} free is the tightest fit", *best, size_text(left[*best]));
  for (u32 package = 0; package < left.size(); ++package) {
    if (package == *best) continue;
    reason += fmt::format("; package {} has {}{}", package, size_text(left[package]),
                          left[package] < demand.unnamed ? ", too little" : "");
  }
  return Choice{*best, std::move(reason)};
}

std::string list_named(const Demand& demand) {
  std::vector<std::string> parts;
  for (const u32 package : demand.packages)
    parts.push_back(fmt::format("{} of package {}", size_text(demand.named[package]), package));
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

tl::expected<Placement, EpcRefusal> place(std::span<const EpcRequest> requests, std::span<const u64> free,
                                          KeySharing keys) {
  const auto demand = TRY(add_up(requests, free.size()));
  if (keys == KeySharing::separate && demand.packages.size() > 1) {
    return refuse(Why::separate_keys,
                  fmt::format("{}: the packages of this machine have separate keys, so that a page that one of them "
                              "evicts cannot be loaded by another; a domain may have EPC of one package only",
                              list_named(demand)));
  }
  std::vector<u64> left(free.begin(), free.end());
  for (const u32 package : demand.packages) {
    if (demand.named[package] > left[package])
      return refuse(Why::shortage, fmt::format("not enough EPC: asked for {}", list_named(demand)));
    left[package] -= demand.named[package];
  }
  Placement placement;
  std::optional<Choice> choice;
  if (demand.unnamed != 0) {
    choice = choose(demand, left, keys);
    if (!choice) {
      return refuse(Why::shortage,
                    fmt::format("not enough EPC: asked for {}{}{} of any one package", list_named(demand),
                                demand.packages.empty() ? "" : ", and ", size_text(demand.unnamed)));
    }
  }
  for (const EpcRequest& request : requests)
    placement.packages.push_back(request.package ? *request.package : choice->package);
  placement.reason = choice ? choice->reason : fmt::format("as asked: {}", list_named(demand));
  return placement;
}

}  // namespace cloister::toolstack
