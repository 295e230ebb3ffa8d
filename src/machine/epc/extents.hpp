// Extents of pages that tile a range of page indices: each page belongs to exactly one extent. A record of 14 bytes for
// each page is set aside, and only that of an extent's first page is ever touched.
//
// Records have two links. Who keeps extents of a kind together uses them: free ones are nodes of a tree
// (free_tree.hpp), those of one owner are a list.
#pragma once

#include <optional>

#include "machine/epc/bit_tree.hpp"
#include "machine/epc/zeroed_memory.hpp"

namespace cloister::toolstack {

/// Index of a page, or of the extent that begins there.
using PageIndex = u32;
inline constexpr PageIndex no_extent = ~PageIndex{0};

/// Who has an extent, besides owners.
inline constexpr u16 free_mark = 0, withdrawn_mark = 0xffff, border_mark = 0xfffe;

struct [[gnu::packed]] ExtentRecord {
  u32 pages;
  PageIndex left, right;
  u16 mark;
};
static_assert(sizeof(ExtentRecord) == 14);

class Extents {
 public:
  /// Room for this many pages, none of which belongs to an extent yet. The error is errno's.
  static tl::expected<Extents, int> create(u64 pages) {
    // The records come last: they have the smallest alignment.
    const u64 set = BitTree::bytes_for(pages);
    auto memory = ZeroedMemory::create(set + pages * sizeof(ExtentRecord));
    if (!memory) return tl::unexpected(memory.error());
    Extents extents;
    extents.first_pages_ = BitTree(reinterpret_cast<u64*>(memory->begin()), pages);
    extents.records_ = reinterpret_cast<ExtentRecord*>(memory->begin() + set);
    extents.memory_ = std::move(*memory);
    return extents;
  }

  /// The record of the extent that begins there.
  ExtentRecord& operator[](PageIndex first) const {
    assert(first_pages_.contains(first));
    return records_[first];
  }
  /// The extent that a page belongs to.
  PageIndex containing(PageIndex page) const { return static_cast<PageIndex>(first_pages_.last_at_or_before(page)); }
  /// The page after an extent, where another one begins.
  PageIndex end_of(PageIndex first) const { return first + (*this)[first].pages; }

  void make(PageIndex first, u32 pages, u16 mark) {
    first_pages_.insert(first);
    records_[first] = {.pages = pages, .left = no_extent, .right = no_extent, .mark = mark};
  }
  void erase(PageIndex first) { first_pages_.erase(first); }

  const ZeroedMemory& memory() const { return memory_; }

 private:
  ZeroedMemory memory_;
  BitTree first_pages_;
  ExtentRecord* records_ = nullptr;
};

}  // namespace cloister::toolstack
