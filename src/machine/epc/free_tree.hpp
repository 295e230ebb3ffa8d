// Free extents by size, and by index where sizes are equal: a treap, whose priorities are a hash of the index, so that
// it needs two links and nothing else. All operations take logarithmic time (expected, whatever the sizes are).
#pragma once

#include "machine/epc/extents.hpp"

namespace cloister::toolstack {

class FreeTree {
 public:
  /// The extent is in no tree or list.
  void insert(Extents& extents, PageIndex extent);
  /// The extent is in this tree.
  void erase(Extents& extents, PageIndex extent);
  /// The smallest extent of at least so many pages; no_extent if there is none.
  PageIndex best_fit(const Extents& extents, u64 pages) const;
  /// no_extent if there is none at all.
  PageIndex largest(const Extents& extents) const;

 private:
  PageIndex root_ = no_extent;
};

}  // namespace cloister::toolstack
