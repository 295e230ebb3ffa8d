// Moves: a guest with all that one host offers needs all of it where it goes. Its enclaves never move, since their keys
// are the processor's and their pages are lost (SDM vol. 3D, 37.7: EPC is not kept over power events); its memory and
// its view of the processor do.
#include <algorithm>

#include "policy/level.hpp"

namespace cloister::policy {

namespace {

/// Collects what a guest would miss.
struct Verdict {
  Migration& migration;
  void lost(const std::string& what) const { migration.lost.push_back(what); }
  void unknown(const std::string& what) const { migration.unknown.push_back(what); }
  void judge(Known there, const std::string& what) const {
    if (there == Known::no) lost(what);
    if (there == Known::unknown) unknown(what);
  }
};

Known guests_have(const LevelledHost& host, const Feature& feature) {
  return guests_have(host.view, host.sgx, feature);
}

bool has_enclaves(const LevelledHost& host) { return guests_have(host, *find_feature("sgx1")) == Known::yes; }

void compare_limits(const SgxReport& from, const SgxReport& to, const Verdict& verdict) {
  // What is not known of a host is not given to its guests.
  if (from.xfrm != 0) {
    if (to.xfrm == 0) {
      verdict.unknown("XFRM");
    } else {
      for (const std::string& name : names_of_xfrm(from.xfrm & ~to.xfrm)) verdict.lost("XFRM " + name);
    }
  }
  const auto size = [&](u8 mine, u8 theirs, const char* mode) {
    const std::string what = std::string(mode) + "-bit enclaves of 2^" + std::to_string(mine) + " bytes";
    if (mine != 0 && theirs == 0) verdict.unknown(what);
    if (theirs != 0 && mine > theirs) verdict.lost(what);
  };
  size(from.log2_size_32, to.log2_size_32, "32");
  size(from.log2_size_64, to.log2_size_64, "64");
}

/// A guest keeps its hash where it can be set, or where it is the same by itself.
void compare_launch(const LevelledHost& from, const LevelledHost& to, const Verdict& verdict) {
  const LaunchCase here = from.sgx.launch, there = to.sgx.launch;
  if (there == LaunchCase::unlocked) return;
  if (here == LaunchCase::unlocked && there != LaunchCase::unknown) return verdict.lost("a launch-key hash of its own");
  const auto mine = locked_hash(from.view, here), theirs = locked_hash(to.view, there);
  if (!mine || !theirs) return verdict.unknown("the launch-key hash");
  if (*mine != *theirs) verdict.lost("the launch-key hash");
}

std::string mib(u64 bytes) { return std::to_string(bytes >> 20) + " MiB"; }

void compare_epc(const LevelledHost& from, const LevelledHost& to, const Verdict& verdict) {
  const auto mine = epc_of(from.view), theirs = epc_of(to.view);
  if (!mine || mine->empty()) return;
  if (!theirs) return verdict.unknown("EPC of " + mib(*bytes_of(mine)));
  if (*bytes_of(mine) > *bytes_of(theirs)) {
    verdict.lost("EPC of " + mib(*bytes_of(mine)) + " (there " + mib(*bytes_of(theirs)) + ")");
  }
  // Property 1, confidentiality and integrity, is the most that there is.
  constexpr u8 strongest = 1;
  std::vector<u8> seen;
  for (const EpcSectionView& section : *mine) {
    const u8 wanted = section.property;
    if (wanted == 0 || std::ranges::find(seen, wanted) != seen.end()) continue;
    seen.push_back(wanted);
    const std::string what = "EPC of property " + std::to_string(wanted);
    const auto some = [&](u8 property) {
      return std::ranges::find(*theirs, property, &EpcSectionView::property) != theirs->end();
    };
    if (some(wanted) || some(strongest)) continue;
    verdict.judge(some(0) ? Known::unknown : Known::no, what);
  }
}

void compare_cpu(const LevelledHost& from, const LevelledHost& to, const CpuMap& map, const Verdict& verdict) {
  if (!from.cpu.vendor.empty() && !to.cpu.vendor.empty() && from.cpu.vendor != to.cpu.vendor) {
    verdict.lost("a processor of " + from.cpu.vendor + "'s");
  }
  if (from.cpu.told && !to.cpu.told) return verdict.unknown("the CPU's features");
  for (std::size_t i = 0; i < map.features.size(); ++i) {
    const MapFeature& feature = map.features[i];
    if (from.cpu.features[i] != Known::yes || !feature.migratable) continue;
    if (is_sgx(feature) || never_a_guests(feature.name)) continue;
    verdict.judge(to.cpu.features[i], feature.name);
  }
}

}  // namespace

std::vector<Migration> migrations(const std::vector<LevelledHost>& hosts, const CpuMap& map) {
  std::vector<Migration> all;
  for (std::size_t from = 0; from < hosts.size(); ++from) {
    for (std::size_t to = 0; to < hosts.size(); ++to) {
      if (from == to) continue;
      Migration& migration = all.emplace_back();
      migration.from = from;
      migration.to = to;
      const Verdict verdict{migration};
      for (const Feature* const feature : sgx_features()) {
        if (guests_have(hosts[from], *feature) != Known::yes) continue;
        verdict.judge(guests_have(hosts[to], *feature), std::string(feature->name));
      }
      if (has_enclaves(hosts[from])) {
        compare_limits(hosts[from].sgx, hosts[to].sgx, verdict);
        compare_launch(hosts[from], hosts[to], verdict);
        compare_epc(hosts[from], hosts[to], verdict);
      }
      compare_cpu(hosts[from], hosts[to], map, verdict);
      migration.safe = !migration.lost.empty() ? Known::no : !migration.unknown.empty() ? Known::unknown : Known::yes;
    }
  }
  return all;
}

}  // namespace cloister::policy
