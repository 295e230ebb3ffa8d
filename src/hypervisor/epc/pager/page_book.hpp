// What the pager knows of each page of a domain's EPC: where it is, and what is needed to bring it back. It never
// learns what is in one.
//
// Records are kept in chunks that are made when a page of theirs is first used, so that a domain costs what it touches.
//
// Thread rules: its owner's.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "hypervisor/epc/epc_pages.hpp"
#include "hypervisor/epc/pager/backing.hpp"

namespace cloister::hypervisor {

/// A slot of a version array of the hypervisor's own.
struct SlotName {
  u32 page = 0;  ///< of the pool's
  u32 index = 0;
  bool operator==(const SlotName&) const = default;
};

struct PageRecord {
  enum class State : u8 {
    absent,    ///< never used since the domain began, or given up: free, without a frame
    resident,  ///< mapped
    busy,      ///< somebody works on it, with the pager's lock released
    evicted,   ///< its image is in the backing store, its version in `slot`
    given,     ///< the guest has given it back, and it is no EPC until it is taken again
    lost,      ///< its image could not be loaded: for ever
  };
  /// As it was when it was evicted.
  enum class Kind : u8 { child, secs, va };

  State state = State::absent;
  Kind kind = Kind::child;
  bool guest_blocked = false;  ///< the guest had blocked it: it comes back so
  u8 pins = 0;                 ///< not to be evicted
  bool kept = false;           ///< it could not be evicted when that was tried last: a SECS with children
  bool recent = false;         ///< resident: it was used of late (Pager::look)
  bool handed_out = false;     ///< evicted: its image as it is was handed to who sends it (early.cpp)
  arch::Mfn frame{};           ///< resident, and while it is being evicted
  SlotName slot{};             ///< evicted
  Backing::Image image{};      ///< evicted
  EpcPage secs{};              ///< of an evicted child, and of an `owned` page
  u64 linaddr = 0;             ///< evicted: PAGEINFO.LINADDR
  // What a hypervisor without OSS must note itself (PagingMode::trap):
  bool owned = false;  ///< a leaf of the guest's made it a child of `secs`, and none has taken it away
  /// A SECS: so many of its children are out, of which it knows nothing itself. With OSS only of one that has come from
  /// elsewhere, or is about to go, and is out.
  u32 children_out = 0;
};
constexpr bool is_value(PageRecord::Kind kind) { return kind <= PageRecord::Kind::va; }

class PageBook : public EpcPages {
 public:
  explicit PageBook(EpcPages pages);

  PageRecord& operator[](EpcPage page);
  /// Null: it is absent, and has no record yet.
  const PageRecord* find(EpcPage page) const;

  static constexpr u64 chunk_pages = 512;

 private:
  using Chunk = std::array<PageRecord, chunk_pages>;

  std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace cloister::hypervisor
