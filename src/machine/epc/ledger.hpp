// What the accounts are kept in: extents that tile the machine's pages, a tree of the free ones and a list for each
// owner, by package.
//
// Pages have indices in the order of their frame numbers. Sections lie one after the other, with a page that belongs to
// nobody before each and after the last, so that no extent grows across a section's ends.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "machine/epc/accounts.hpp"
#include "machine/epc/extents.hpp"
#include "machine/epc/free_tree.hpp"

namespace cloister::toolstack::ledger {

struct Section {
  EpcExtent frames;
  u32 package = 0;
  PageIndex first = 0;  ///< index of the first page
};

/// The extents of one owner in one package.
struct Holding {
  PageIndex head = no_extent;
  u64 pages = 0;
};

struct Package {
  u64 total = 0, free = 0;
  FreeTree tree;
  std::map<u16, Holding> holdings;  ///< by mark: owners, and what is withdrawn
};

struct Ledger {
  std::vector<Section> sections;  ///< by frame, and so by index
  std::vector<Package> packages;
  KeySharing keys = KeySharing::shared;
  Extents extents;

  const Section* section_of(arch::Mfn frame) const;
  std::optional<PageIndex> index_of(arch::Mfn frame) const;
  /// The index of an extent's first page; nullopt if it does not lie in one section.
  std::optional<PageIndex> index_of(const EpcExtent& extent) const;
  const Section& section_at(PageIndex index) const;
  Package& package_at(PageIndex index) { return packages[section_at(index).package]; }
  EpcExtent frames_of(PageIndex extent) const;

  void link(PageIndex extent, u16 mark);
  void unlink(PageIndex extent);
  void add_free(PageIndex first, u32 pages);
  void carve(PageIndex from, PageIndex first, u32 pages, u16 mark);
  void split_at(PageIndex page);
  void set_free(PageIndex extent);
  std::vector<EpcExtent> grant(u32 package, u16 mark, u64 pages);
  std::vector<EpcExtent> list(u32 package, u16 mark) const;
};

}  // namespace cloister::toolstack::ledger
