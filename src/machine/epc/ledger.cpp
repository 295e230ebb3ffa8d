#include "machine/epc/ledger.hpp"

#include <algorithm>

namespace cloister::toolstack::ledger {

const Section* Ledger::section_of(arch::Mfn frame) const {
  auto after = std::ranges::upper_bound(sections, frame, {}, [](const Section& s) { return s.frames.first; });
  if (after == sections.begin()) return nullptr;
  const Section& section = *--after;
  return frame - section.frames.first < section.frames.pages ? &section : nullptr;
}

std::optional<PageIndex> Ledger::index_of(arch::Mfn frame) const {
  const Section* section = section_of(frame);
  if (section == nullptr) return std::nullopt;
  return section->first + static_cast<u32>(frame - section->frames.first);
}

std::optional<PageIndex> Ledger::index_of(const EpcExtent& extent) const {
  const Section* section = section_of(extent.first);
  if (section == nullptr || extent.pages == 0) return std::nullopt;
  const u64 offset = extent.first - section->frames.first;
  if (extent.pages > section->frames.pages - offset) return std::nullopt;
  return section->first + static_cast<u32>(offset);
}

const Section& Ledger::section_at(PageIndex index) const {
  return *std::prev(std::ranges::upper_bound(sections, index, {}, &Section::first));
}

EpcExtent Ledger::frames_of(PageIndex extent) const {
  const Section& section = section_at(extent);
  return {section.frames.first + (extent - section.first), extents[extent].pages};
}

/// Puts an extent in front of its owner's list.
void Ledger::link(PageIndex extent, u16 mark) {
  Holding& holding = package_at(extent).holdings[mark];
  ExtentRecord& record = extents[extent];
  record.mark = mark;
  record.left = no_extent;
  record.right = holding.head;
  if (holding.head != no_extent) extents[holding.head].left = extent;
  holding.head = extent;
  holding.pages += record.pages;
}

void Ledger::unlink(PageIndex extent) {
  Package& package = package_at(extent);
  const ExtentRecord& record = extents[extent];
  const auto holding = package.holdings.find(record.mark);
  if (record.left != no_extent) {
    extents[record.left].right = record.right;
  } else {
    holding->second.head = record.right;
  }
  if (record.right != no_extent) extents[record.right].left = record.left;
  holding->second.pages -= record.pages;
  if (holding->second.head == no_extent) package.holdings.erase(holding);
}

void Ledger::add_free(PageIndex first, u32 pages) {
  if (pages == 0) return;
  extents.make(first, pages, free_mark);
  package_at(first).tree.insert(extents, first);
}

/// Cuts pages out of the free extent `from` for somebody.
void Ledger::carve(PageIndex from, PageIndex first, u32 pages, u16 mark) {
  Package& package = package_at(from);
  const PageIndex end = extents.end_of(from);
  package.tree.erase(extents, from);
  add_free(from, first - from);
  add_free(first + pages, end - first - pages);
  extents.make(first, pages, mark);
  package.free -= pages;
  link(first, mark);
}

/// Makes an extent begin at a page that is granted; nothing happens if one does.
void Ledger::split_at(PageIndex page) {
  const PageIndex extent = extents.containing(page);
  if (extent == page) return;
  const u16 mark = extents[extent].mark;
  const u32 behind = extents.end_of(extent) - page;
  package_at(extent).holdings[mark].pages -= behind;
  extents[extent].pages -= behind;
  extents.make(page, behind, mark);
  link(page, mark);
}

/// Frees an extent that somebody has, together with free neighbours.
void Ledger::set_free(PageIndex extent) {
  Package& package = package_at(extent);
  unlink(extent);
  package.free += extents[extent].pages;
  PageIndex first = extent, end = extents.end_of(extent);
  if (extents[end].mark == free_mark) {
    const PageIndex behind = end;
    end = extents.end_of(behind);
    package.tree.erase(extents, behind);
    extents.erase(behind);
  }
  if (const PageIndex before = extents.containing(extent - 1); extents[before].mark == free_mark) {
    package.tree.erase(extents, before);
    extents.erase(extent);
    first = before;
  }
  add_free(first, end - first);
}

/// There are as many free pages in the package.
std::vector<EpcExtent> Ledger::grant(u32 package, u16 mark, u64 pages) {
  std::vector<EpcExtent> granted;
  while (pages != 0) {
    const FreeTree& tree = packages[package].tree;
    PageIndex from = tree.best_fit(extents, pages);
    if (from == no_extent) from = tree.largest(extents);
    assert(from != no_extent);
    const u32 count = static_cast<u32>(std::min<u64>(pages, extents[from].pages));
    carve(from, from, count, mark);
    granted.push_back(frames_of(from));
    pages -= count;
  }
  return granted;
}

/// By frame number; neighbours are one extent.
std::vector<EpcExtent> Ledger::list(u32 package, u16 mark) const {
  std::vector<EpcExtent> result;
  const auto holding = packages[package].holdings.find(mark);
  if (holding == packages[package].holdings.end()) return result;
  for (PageIndex e = holding->second.head; e != no_extent; e = extents[e].right) result.push_back(frames_of(e));
  std::ranges::sort(result, {}, &EpcExtent::first);
  std::size_t last = 0;
  for (std::size_t i = 1; i < result.size(); ++i) {
    if (result[last].first + result[last].pages == result[i].first) {
      result[last].pages += result[i].pages;
    } else {
      result[++last] = result[i];
    }
  }
  result.resize(last + 1);
  return result;
}

}  // namespace cloister::toolstack::ledger
