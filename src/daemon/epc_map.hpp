// The machine's EPC as a picture: who has each frame and what is in it, as runs of equal neighbours.
#pragma once

#include <span>
#include <vector>

#include "daemon/domains.hpp"

namespace cloister::toolstack {

/// Frames in a row with one owner and one type.
struct EpcRun {
  u64 first = 0, pages = 0;
  u32 owner = 0;               ///< a domain's number; 0: none
  const char* type = nullptr;  ///< "free", "withdrawn", "unused" (not valid in the EPCM), or a page type's name
  bool same_as(const EpcRun& other) const { return owner == other.owner && type == other.type; }
};

struct PackageMap {
  u32 package = 0;
  std::vector<EpcSectionDescription> sections;
  std::vector<EpcRun> runs;  ///< section after section, each without gaps
};

/// At most `cells` runs a package, but one a section at least: where there are more, a section is divided into equal
/// parts, and each shows what most of its frames are.
std::vector<PackageMap> map_epc(const MachineEpcInfo& epc, const std::vector<DomainInfo>& domains, u64 cells);

/// Runs without gaps, in parts of `part` frames.
std::vector<EpcRun> coarsen(std::span<const EpcRun> runs, u64 part);

}  // namespace cloister::toolstack
