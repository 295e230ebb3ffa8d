// What is in a frame comes through the silicon's diagnostics door, while the domain runs: it is a look, not a promise.
#include "daemon/epc_map.hpp"

#include <algorithm>

#include "daemon/sgx_names.hpp"
#include "vmx/diagnostics.hpp"

namespace cloister::toolstack {

namespace {

namespace diagnostics = vmx::diagnostics;

// Types are compared by address.
constexpr const char *free_type = "free", *withdrawn_type = "withdrawn", *unused_type = "unused";

void append(std::vector<EpcRun>& runs, const EpcRun& run) {
  if (run.pages == 0) return;
  if (!runs.empty() && runs.back().same_as(run) && runs.back().first + runs.back().pages == run.first)
    runs.back().pages += run.pages;
  else
    runs.push_back(run);
}

std::vector<diagnostics::Page> valid_pages(const DomainInfo& domain) {
  if (domain.memory == nullptr) return {};
  const auto observer = domain.memory->observe();
  return observer ? (*observer)->valid_pages() : std::vector<diagnostics::Page>();
}

struct Content {
  u64 frame = 0;
  const char* type = nullptr;
};

/// By frame. A domain's memory has the pages of the sections that its Package lists, one after the other.
std::vector<Content> contents_of(const DomainInfo& domain) {
  const auto valid = valid_pages(domain);
  std::vector<Content> contents;
  auto page = valid.begin();
  u64 base = 0;
  for (const EpcExtent& section : domain.listed) {
    for (; page != valid.end() && page->index < base + section.pages; ++page)
      contents.push_back({section.first.value + page->index - base, name_of(page->type)});
    base += section.pages;
  }
  std::ranges::sort(contents, {}, &Content::frame);
  return contents;
}

void append_domain(std::vector<EpcRun>& runs, const DomainInfo& domain) {
  const std::vector<Content> contents = contents_of(domain);
  for (const EpcExtent& extent : sections_of(domain.grants)) {
    u64 at = extent.first.value;
    const u64 end = at + extent.pages;
    for (auto page = std::ranges::lower_bound(contents, at, {}, &Content::frame);
         page != contents.end() && page->frame < end; ++page) {
      append(runs, {at, page->frame - at, domain.id, unused_type});
      append(runs, {page->frame, 1, domain.id, page->type});
      at = page->frame + 1;
    }
    append(runs, {at, end - at, domain.id, unused_type});
  }
}

/// All frames that are not free, by number.
std::vector<EpcRun> held_frames(const MachineEpcInfo& epc, const std::vector<DomainInfo>& domains) {
  std::vector<EpcRun> held;
  for (const DomainInfo& domain : domains) append_domain(held, domain);
  for (const EpcExtent& extent : epc.withdrawn) held.push_back({extent.first.value, extent.pages, 0, withdrawn_type});
  std::ranges::sort(held, {}, &EpcRun::first);
  return held;
}

/// The section's runs: what is held, and what is free between. The accounts and the list of domains are two looks, so a
/// frame may be in `held` twice: what comes first counts.
std::vector<EpcRun> runs_of(const EpcSectionDescription& section, const std::vector<EpcRun>& held) {
  std::vector<EpcRun> runs;
  u64 at = section.base / arch::page_size;
  const u64 end = at + section.bytes / arch::page_size;
  for (auto run = std::ranges::lower_bound(held, at, {}, &EpcRun::first); run != held.end() && run->first < end;
       ++run) {
    const u64 from = std::max(at, run->first), to = std::min(end, run->first + run->pages);
    if (from >= to) continue;
    append(runs, {at, from - at, 0, free_type});
    append(runs, {from, to - from, run->owner, run->type});
    at = to;
  }
  append(runs, {at, end - at, 0, free_type});
  return runs;
}

}  // namespace

std::vector<EpcRun> coarsen(std::span<const EpcRun> runs, u64 part) {
  std::vector<EpcRun> coarse;
  std::vector<EpcRun> seen;  // in the part so far: one for each kind, `first` is the part's
  u64 room = part;
  const auto close = [&] {
    if (seen.empty()) return;
    EpcRun most = *std::ranges::max_element(seen, {}, &EpcRun::pages);
    most.pages = part - room;
    append(coarse, most);
    seen.clear();
    room = part;
  };
  for (EpcRun run : runs) {
    while (run.pages != 0) {
      const u64 taken = std::min(run.pages, room);
      const auto same = std::ranges::find_if(seen, [&](const EpcRun& other) { return other.same_as(run); });
      if (same != seen.end())
        same->pages += taken;
      else
        seen.push_back({seen.empty() ? run.first : seen.front().first, taken, run.owner, run.type});
      room -= taken;
      run.first += taken;
      run.pages -= taken;
      if (room == 0) close();
    }
  }
  close();
  return coarse;
}

std::vector<PackageMap> map_epc(const MachineEpcInfo& epc, const std::vector<DomainInfo>& domains, u64 cells) {
  const std::vector<EpcRun> held = held_frames(epc, domains);
  std::vector<PackageMap> maps;
  for (const PackageEpc& package : epc.packages) {
    std::vector<std::vector<EpcRun>> sections;
    u64 runs = 0, largest = 1, pages = 0;
    for (const EpcSectionDescription& section : package.sections) {
      sections.push_back(runs_of(section, held));
      runs += sections.back().size();
      largest = std::max(largest, section.bytes / arch::page_size);
      pages += section.bytes / arch::page_size;
    }
    // A section's last part may be short: one more part for each section.
    const u64 full = cells > sections.size() ? cells - sections.size() : 0;
    const u64 part = full == 0 ? largest : (pages + full - 1) / full;
    PackageMap map{package.package, package.sections, {}};
    for (const auto& section : sections) {
      const auto shown = runs > cells ? coarsen(section, part) : section;
      map.runs.insert(map.runs.end(), shown.begin(), shown.end());
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

}  // namespace cloister::toolstack
