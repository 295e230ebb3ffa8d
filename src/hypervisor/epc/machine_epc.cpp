// The accounts: extents that tile the machine's pages, a tree of the free ones and a list for each owner, by package.
//
// Pages have indices in the order of their frame numbers. Sections lie one after the other, with a page that belongs to
// nobody before each and after the last, so that no extent grows across a section's ends.
#include "hypervisor/epc/machine_epc.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "hypervisor/epc/extents.hpp"
#include "hypervisor/epc/free_tree.hpp"
#include "hypervisor/epc/placement.hpp"

namespace cloister::hypervisor {

namespace {

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

using Done = tl::expected<void, std::string>;

bool in_range(EpcOwner owner) {
  const u16 number = static_cast<u16>(owner);
  return number >= 1 && number <= last_owner;
}

std::string range_text(const EpcExtent& extent) {
  return fmt::format("{:#x} ({})", arch::address_of(extent.first).value, size_text(extent.pages));
}

}  // namespace

struct MachineEpc::Impl {
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

const Section* MachineEpc::Impl::section_of(arch::Mfn frame) const {
  auto after = std::ranges::upper_bound(sections, frame, {}, [](const Section& s) { return s.frames.first; });
  if (after == sections.begin()) return nullptr;
  const Section& section = *--after;
  return frame - section.frames.first < section.frames.pages ? &section : nullptr;
}

std::optional<PageIndex> MachineEpc::Impl::index_of(arch::Mfn frame) const {
  const Section* section = section_of(frame);
  if (section == nullptr) return std::nullopt;
  return section->first + static_cast<u32>(frame - section->frames.first);
}

std::optional<PageIndex> MachineEpc::Impl::index_of(const EpcExtent& extent) const {
  const Section* section = section_of(extent.first);
  if (section == nullptr || extent.pages == 0) return std::nullopt;
  const u64 offset = extent.first - section->frames.first;
  if (extent.pages > section->frames.pages - offset) return std::nullopt;
  return section->first + static_cast<u32>(offset);
}

const Section& MachineEpc::Impl::section_at(PageIndex index) const {
  return *std::prev(std::ranges::upper_bound(sections, index, {}, &Section::first));
}

EpcExtent MachineEpc::Impl::frames_of(PageIndex extent) const {
  const Section& section = section_at(extent);
  return {section.frames.first + (extent - section.first), extents[extent].pages};
}

/// Puts an extent in front of its owner's list.
void MachineEpc::Impl::link(PageIndex extent, u16 mark) {
  Holding& holding = package_at(extent).holdings[mark];
  ExtentRecord& record = extents[extent];
  record.mark = mark;
  record.left = no_extent;
  record.right = holding.head;
  if (holding.head != no_extent) extents[holding.head].left = extent;
  holding.head = extent;
  holding.pages += record.pages;
}

void MachineEpc::Impl::unlink(PageIndex extent) {
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

void MachineEpc::Impl::add_free(PageIndex first, u32 pages) {
  if (pages == 0) return;
  extents.make(first, pages, free_mark);
  package_at(first).tree.insert(extents, first);
}

/// Cuts pages out of the free extent `from` for somebody.
void MachineEpc::Impl::carve(PageIndex from, PageIndex first, u32 pages, u16 mark) {
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
void MachineEpc::Impl::split_at(PageIndex page) {
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
void MachineEpc::Impl::set_free(PageIndex extent) {
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
std::vector<EpcExtent> MachineEpc::Impl::grant(u32 package, u16 mark, u64 pages) {
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
std::vector<EpcExtent> MachineEpc::Impl::list(u32 package, u16 mark) const {
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

MachineEpc::MachineEpc(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MachineEpc::~MachineEpc() = default;
MachineEpc::MachineEpc(MachineEpc&&) noexcept = default;
MachineEpc& MachineEpc::operator=(MachineEpc&&) noexcept = default;

tl::expected<MachineEpc, std::string> MachineEpc::create(const MachineEpcSpec& spec) {
  auto impl = std::make_unique<Impl>();
  impl->keys = spec.keys;
  impl->packages.resize(spec.packages);
  for (const MachineSection& section : spec.sections) {
    if (section.frames.pages == 0 || section.frames.first.value > ~u64{0} - section.frames.pages)
      return tl::unexpected(fmt::format("EPC section {}: no such range", range_text(section.frames)));
    if (section.package >= spec.packages)
      return tl::unexpected(
          fmt::format("EPC section {}: there is no package {}", range_text(section.frames), section.package));
    impl->sections.push_back({.frames = section.frames, .package = section.package});
  }
  std::ranges::sort(impl->sections, {}, [](const Section& s) { return s.frames.first; });
  u64 next = 1;
  for (std::size_t i = 0; i < impl->sections.size(); ++i) {
    Section& section = impl->sections[i];
    if (i != 0 && section.frames.first - impl->sections[i - 1].frames.first < impl->sections[i - 1].frames.pages)
      return tl::unexpected(fmt::format("EPC section {} overlaps section {}", range_text(section.frames),
                                        range_text(impl->sections[i - 1].frames)));
    section.first = static_cast<PageIndex>(next);
    if (section.frames.pages >= no_extent - next)
      return tl::unexpected(std::string("more EPC than accounts of 32 bits count: 16 TiB"));
    next += section.frames.pages + 1;
  }
  auto extents = Extents::create(next);
  if (!extents)
    return tl::unexpected(
        fmt::format("no address space for the accounts of {} pages of EPC: {}", next, std::strerror(extents.error())));
  impl->extents = std::move(*extents);
  impl->extents.make(0, 1, border_mark);
  for (const Section& section : impl->sections) {
    const u32 pages = static_cast<u32>(section.frames.pages);
    impl->extents.make(section.first + pages, 1, border_mark);
    impl->add_free(section.first, pages);
    impl->packages[section.package].total += pages;
    impl->packages[section.package].free += pages;
  }
  return MachineEpc(std::move(impl));
}

tl::expected<EpcAllocation, EpcRefusal> MachineEpc::allocate(EpcOwner owner, std::span<const EpcRequest> requests) {
  if (!in_range(owner)) {
    return tl::unexpected(EpcRefusal{
        .why = EpcRefusal::Why::malformed,
        .message = fmt::format("{} is no owner's number; expected 1 to {}", static_cast<u16>(owner), last_owner),
        .packages = {}});
  }
  std::vector<u64> free;
  for (const Package& package : impl_->packages) free.push_back(package.free);
  auto placement = place(requests, free, impl_->keys);
  if (!placement) {
    EpcRefusal refusal = std::move(placement.error());
    if (refusal.why == EpcRefusal::Why::shortage) {
      for (u32 package = 0; package < packages(); ++package)
        refusal.packages.push_back({.package = package, .count = count(package), .holders = holders(package)});
    }
    return tl::unexpected(std::move(refusal));
  }
  EpcAllocation allocation{.grants = {}, .reason = std::move(placement->reason)};
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const u32 package = placement->packages[i];
    allocation.grants.push_back(
        {.package = package, .extents = impl_->grant(package, static_cast<u16>(owner), requests[i].pages)});
  }
  return allocation;
}

u64 MachineEpc::release(EpcOwner owner) {
  const u16 mark = static_cast<u16>(owner);
  u64 pages = 0;
  if (!in_range(owner)) return pages;
  for (Package& package : impl_->packages) {
    for (auto holding = package.holdings.find(mark); holding != package.holdings.end();
         holding = package.holdings.find(mark)) {
      pages += impl_->extents[holding->second.head].pages;
      impl_->set_free(holding->second.head);
    }
  }
  return pages;
}

Done MachineEpc::release(EpcOwner owner, EpcExtent part) {
  const auto first = impl_->index_of(part);
  if (!first || !in_range(owner)) return tl::unexpected(fmt::format("{} is not EPC of one section", range_text(part)));
  const PageIndex end = *first + static_cast<u32>(part.pages);
  for (PageIndex e = impl_->extents.containing(*first); e < end; e = impl_->extents.end_of(e)) {
    if (impl_->extents[e].mark != static_cast<u16>(owner))
      return tl::unexpected(fmt::format("{} is not all of owner {}", range_text(part), static_cast<u16>(owner)));
  }
  impl_->split_at(*first);
  if (impl_->extents.containing(end) != end) impl_->split_at(end);
  for (PageIndex e = *first; e < end;) {
    const PageIndex next = impl_->extents.end_of(e);
    impl_->set_free(e);
    e = next;
  }
  return {};
}

Done MachineEpc::withdraw(arch::Mfn frame) {
  const auto index = impl_->index_of(frame);
  if (!index) return tl::unexpected(fmt::format("{:#x} is not EPC", arch::address_of(frame).value));
  const PageIndex extent = impl_->extents.containing(*index);
  const u16 mark = impl_->extents[extent].mark;
  if (mark == withdrawn_mark) return {};
  if (mark == free_mark) {
    impl_->carve(extent, *index, 1, withdrawn_mark);
    return {};
  }
  impl_->split_at(*index);
  impl_->split_at(*index + 1);
  impl_->unlink(*index);
  impl_->link(*index, withdrawn_mark);
  return {};
}

Done MachineEpc::reserve(EpcOwner owner, std::span<const EpcExtent> extents) {
  if (!in_range(owner)) return tl::unexpected(fmt::format("{} is no owner's number", static_cast<u16>(owner)));
  std::vector<PageIndex> done;
  const auto undo = [&](std::string error) {
    for (const PageIndex extent : done) impl_->set_free(extent);
    return tl::unexpected(std::move(error));
  };
  for (const EpcExtent& extent : extents) {
    const auto first = impl_->index_of(extent);
    if (!first) return undo(fmt::format("{} is not EPC of one section of this machine", range_text(extent)));
    const PageIndex from = impl_->extents.containing(*first);
    if (impl_->extents[from].mark != free_mark || impl_->extents.end_of(from) - *first < extent.pages)
      return undo(fmt::format("{} is not free", range_text(extent)));
    impl_->carve(from, *first, static_cast<u32>(extent.pages), static_cast<u16>(owner));
    done.push_back(*first);
  }
  return {};
}

u32 MachineEpc::packages() const { return static_cast<u32>(impl_->packages.size()); }

EpcCount MachineEpc::count(u32 package) const {
  const Package& p = impl_->packages.at(package);
  EpcCount count{.total = p.total, .free = p.free, .granted = 0, .withdrawn = 0};
  if (const auto holding = p.holdings.find(withdrawn_mark); holding != p.holdings.end())
    count.withdrawn = holding->second.pages;
  count.granted = count.total - count.free - count.withdrawn;
  return count;
}

u64 MachineEpc::largest_free_extent(u32 package) const {
  const PageIndex largest = impl_->packages.at(package).tree.largest(impl_->extents);
  return largest == no_extent ? 0 : impl_->extents[largest].pages;
}

EpcCount MachineEpc::count() const {
  EpcCount sum;
  for (u32 package = 0; package < packages(); ++package) {
    const EpcCount c = count(package);
    sum.total += c.total;
    sum.free += c.free;
    sum.granted += c.granted;
    sum.withdrawn += c.withdrawn;
  }
  return sum;
}

std::vector<EpcHolder> MachineEpc::holders(u32 package) const {
  std::vector<EpcHolder> result;
  for (const auto& [mark, holding] : impl_->packages.at(package).holdings) {
    if (mark != withdrawn_mark) result.push_back({.owner = EpcOwner{mark}, .pages = holding.pages});
  }
  std::ranges::stable_sort(result, std::ranges::greater{}, &EpcHolder::pages);
  return result;
}

u64 MachineEpc::held(EpcOwner owner, u32 package) const {
  const auto& holdings = impl_->packages.at(package).holdings;
  const auto holding = holdings.find(static_cast<u16>(owner));
  return holding == holdings.end() || !in_range(owner) ? 0 : holding->second.pages;
}

std::vector<EpcExtent> MachineEpc::extents_of(EpcOwner owner) const {
  std::vector<EpcExtent> result;
  if (!in_range(owner)) return result;
  for (u32 package = 0; package < packages(); ++package) {
    const auto part = impl_->list(package, static_cast<u16>(owner));
    result.insert(result.end(), part.begin(), part.end());
  }
  std::ranges::sort(result, {}, &EpcExtent::first);
  return result;
}

std::vector<EpcExtent> MachineEpc::withdrawn(u32 package) const { return impl_->list(package, withdrawn_mark); }

std::optional<u32> MachineEpc::package_of(arch::Mfn frame) const {
  const Section* section = impl_->section_of(frame);
  return section == nullptr ? std::nullopt : std::optional(section->package);
}

std::optional<EpcOwner> MachineEpc::owner_of(arch::Mfn frame) const {
  const auto index = impl_->index_of(frame);
  if (!index) return std::nullopt;
  const u16 mark = impl_->extents[impl_->extents.containing(*index)].mark;
  return mark == free_mark || mark == withdrawn_mark ? std::nullopt : std::optional(EpcOwner{mark});
}

MachineEpc::Metadata MachineEpc::metadata() const {
  constexpr u64 node = 64;  // of a std::map with a Holding: links and colour, key and value, malloc's own
  u64 heap = sizeof(Impl) + impl_->sections.capacity() * sizeof(Section) + impl_->packages.capacity() * sizeof(Package);
  for (const Package& package : impl_->packages) heap += package.holdings.size() * node;
  const ZeroedMemory& memory = impl_->extents.memory();
  return {.reserved = memory.bytes() + heap, .resident = memory.resident() + heap};
}

}  // namespace cloister::hypervisor
