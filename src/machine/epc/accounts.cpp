// Amounts and refusals in words.
#include "machine/epc/accounts.hpp"

#include <fmt/format.h>

namespace cloister::toolstack {

namespace {

constexpr std::size_t most_holders_named = 8;

std::string describe_package(const EpcRefusal::Package& package, const std::function<std::string(EpcOwner)>& name_of) {
  std::string text = fmt::format("package {} has {} free of {}", package.package, size_text(package.count.free),
                                 size_text(package.count.total));
  std::vector<std::string> rest;
  u64 others = 0;
  for (const EpcHolder& holder : package.holders) {
    if (rest.size() < most_holders_named) {
      rest.push_back(fmt::format("{} {}", name_of(holder.owner), size_text(holder.pages)));
    } else {
      others += holder.pages;
    }
  }
  if (others != 0)
    rest.push_back(fmt::format("{} others {}", package.holders.size() - most_holders_named, size_text(others)));
  if (package.count.withdrawn != 0) rest.push_back(fmt::format("withdrawn {}", size_text(package.count.withdrawn)));
  if (!rest.empty()) text += fmt::format(" ({})", fmt::join(rest, ", "));
  return text;
}

}  // namespace

std::string size_text(u64 pages) {
  constexpr u64 per_mib = 256, kib_each = 4;
  if (pages % per_mib == 0) return fmt::format("{} MiB", pages / per_mib);
  return fmt::format("{} KiB", pages * kib_each);
}

std::string describe(const EpcRefusal& refusal, const std::function<std::string(EpcOwner)>& name_of) {
  std::string text = refusal.message;
  for (std::size_t i = 0; i < refusal.packages.size(); ++i) {
    text += (i == 0 ? ": " : "; ") + describe_package(refusal.packages[i], name_of);
  }
  return text;
}

}  // namespace cloister::toolstack
