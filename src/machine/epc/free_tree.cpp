// Insertion splits the tree below the new node, erasure merges the two halves below the old one.
#include "machine/epc/free_tree.hpp"

#include <utility>

namespace cloister::toolstack {

namespace {

bool before(const Extents& extents, PageIndex a, PageIndex b) {
  const u32 left = extents[a].pages, right = extents[b].pages;
  return left != right ? left < right : a < b;
}

/// Spreads neighbouring indices over all priorities (the finaliser of MurmurHash3).
u32 priority(PageIndex index) {
  index = (index ^ index >> 16) * 0x85eb'ca6bu;
  index = (index ^ index >> 13) * 0xc2b2'ae35u;
  return index ^ index >> 16;
}

/// What comes before `at`, and the rest.
std::pair<PageIndex, PageIndex> split(Extents& extents, PageIndex root, PageIndex at) {
  if (root == no_extent) return {no_extent, no_extent};
  ExtentRecord& record = extents[root];
  if (before(extents, root, at)) {
    const auto [left, right] = split(extents, record.right, at);
    record.right = left;
    return {root, right};
  }
  const auto [left, right] = split(extents, record.left, at);
  record.left = right;
  return {left, root};
}

/// Everything in `left` comes before everything in `right`.
PageIndex merge(Extents& extents, PageIndex left, PageIndex right) {
  if (left == no_extent) return right;
  if (right == no_extent) return left;
  if (priority(left) > priority(right)) {
    extents[left].right = merge(extents, extents[left].right, right);
    return left;
  }
  extents[right].left = merge(extents, left, extents[right].left);
  return right;
}

PageIndex inserted(Extents& extents, PageIndex root, PageIndex extent) {
  if (root == no_extent || priority(extent) > priority(root)) {
    const auto [left, right] = split(extents, root, extent);
    extents[extent].left = left;
    extents[extent].right = right;
    return extent;
  }
  ExtentRecord& record = extents[root];
  if (before(extents, extent, root)) {
    record.left = inserted(extents, record.left, extent);
  } else {
    record.right = inserted(extents, record.right, extent);
  }
  return root;
}

PageIndex erased(Extents& extents, PageIndex root, PageIndex extent) {
  assert(root != no_extent);
  ExtentRecord& record = extents[root];
  if (root == extent) return merge(extents, record.left, record.right);
  if (before(extents, extent, root)) {
    record.left = erased(extents, record.left, extent);
  } else {
    record.right = erased(extents, record.right, extent);
  }
  return root;
}

}  // namespace

void FreeTree::insert(Extents& extents, PageIndex extent) { root_ = inserted(extents, root_, extent); }

void FreeTree::erase(Extents& extents, PageIndex extent) { root_ = erased(extents, root_, extent); }

PageIndex FreeTree::best_fit(const Extents& extents, u64 pages) const {
  PageIndex best = no_extent;
  for (PageIndex node = root_; node != no_extent;) {
    const bool enough = extents[node].pages >= pages;
    if (enough) best = node;
    node = enough ? extents[node].left : extents[node].right;
  }
  return best;
}

PageIndex FreeTree::largest(const Extents& extents) const {
  PageIndex last = root_;
  while (last != no_extent && extents[last].right != no_extent) last = extents[last].right;
  return last;
}

}  // namespace cloister::toolstack
