// The accounts: what is asked for, checked and done in the ledger.
#include "machine/epc/machine_epc.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "machine/epc/ledger.hpp"
#include "machine/epc/placement.hpp"

namespace cloister::toolstack {

namespace {

using ledger::Holding;
using ledger::Package;
using ledger::Section;
using Kept = tl::expected<void, std::string>;

bool in_range(EpcOwner owner) {
  const u16 number = static_cast<u16>(owner);
  return number >= 1 && number <= last_owner;
}

std::string range_text(const EpcExtent& extent) {
  return fmt::format("{:#x} ({})", arch::address_of(extent.first).value, size_text(extent.pages));
}

}  // namespace

struct MachineEpc::Impl : ledger::Ledger {};

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

tl::expected<EpcAllocation, EpcRefusal> MachineEpc::allocate(EpcOwner owner, std::span<const EpcRequest> requests,
                                                             std::span<const u64> kept) {
  if (!in_range(owner)) {
    return tl::unexpected(EpcRefusal{
        .why = EpcRefusal::Why::malformed,
        .message = fmt::format("{} is no owner's number; expected 1 to {}", static_cast<u16>(owner), last_owner),
        .packages = {}});
  }
  std::vector<u64> free;
  for (const Package& package : impl_->packages) free.push_back(package.free);
  for (std::size_t i = 0; i < kept.size(); ++i) free[i] -= std::min(free[i], kept[i]);
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

Kept MachineEpc::release(EpcOwner owner, EpcExtent part) {
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

Kept MachineEpc::withdraw(arch::Mfn frame) {
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

Kept MachineEpc::reserve(EpcOwner owner, std::span<const EpcExtent> extents) {
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

}  // namespace cloister::toolstack
