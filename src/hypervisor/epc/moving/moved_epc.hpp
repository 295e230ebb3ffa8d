// EPC of which nothing is left in its package but a root (vmx/root_mover.hpp): all that a hypervisor must know to bring
// it back, there or in another package. Nothing of it is secret, and nothing need be believed: what was altered fails
// its MAC as it is loaded, and what is older than the root does, too.
//
// A page's version is in a slot of a version array, and an array's own in a slot of another one, up to the root.
#pragma once

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "hypervisor/epc/pager/page_book.hpp"

namespace cloister::hypervisor {

/// What EWB leaves of a page.
struct SealedPage {
  alignas(arch::page_size) std::array<std::byte, arch::page_size> bytes{};
  alignas(sizeof(arch::Pcmd)) std::array<std::byte, sizeof(arch::Pcmd)> pcmd{};
};
/// The same, wherever it lies.
struct SealedSpan {
  std::span<std::byte> bytes, pcmd;
};

/// What was evicted early, and where from.
struct EarlyPage {
  arch::Gpa page{};
  SealedPage image{};
};

/// A page of the domain's EPC that is out. Addresses are the guest's.
struct MovedPage {
  u64 address = 0;
  PageRecord::Kind kind = PageRecord::Kind::child;
  bool guest_blocked = false;  ///< the guest had blocked it: it comes back so
  u64 secs = 0;                ///< of a child: whose
  u64 linaddr = 0;             ///< PAGEINFO.LINADDR
  SlotName slot{};
  bool operator==(const MovedPage&) const = default;
};

/// A version array of the hypervisor's own that is out.
struct MovedArray {
  u32 number = 0;  ///< by which slots name it
  SlotName slot{};
  std::unique_ptr<SealedPage> image{};
};

struct MovedEpc {
  std::vector<MovedPage> pages{};
  std::vector<u64> lost{};  ///< pages that nobody can load any more
  /// In the order in which they went: what has an array's version went after it.
  std::vector<MovedArray> arrays{};
  u32 root = 0;  ///< the array that is left
};

/// Images of pages by their addresses.
using MovedImages = std::unordered_map<u64, std::unique_ptr<SealedPage>>;

}  // namespace cloister::hypervisor
