// The pages of the EPC that a domain sees, by their numbers: through its ranges, in order.
#pragma once

#include <optional>
#include <vector>

#include "arch/types.hpp"
#include "platform/memory_map.hpp"

namespace cloister::hypervisor {

/// A page by its number.
struct EpcPage {
  u64 number = 0;
  auto operator<=>(const EpcPage&) const = default;
};

/// A page by its place in one of the ranges.
struct EpcPlace {
  std::size_t range = 0;
  u64 page = 0;
};

/// Constant, so for any thread.
class EpcPages {
 public:
  explicit EpcPages(std::vector<platform::EpcRange> ranges);

  u64 pages() const { return pages_; }
  /// Of an address anywhere in it. Nullopt: no page of the domain's EPC.
  std::optional<EpcPage> page_at(arch::Gpa address) const;
  arch::Gpa address_of(EpcPage page) const;

  std::size_t ranges() const { return ranges_.size(); }
  u64 pages_in(std::size_t range) const { return ranges_[range].bytes / arch::page_size; }
  std::optional<EpcPlace> place_of(arch::Gpa address) const;
  arch::Gpa address_of(EpcPlace place) const { return ranges_[place.range].base + place.page * arch::page_size; }

 private:
  std::vector<platform::EpcRange> ranges_;
  u64 pages_ = 0;
};

}  // namespace cloister::hypervisor
