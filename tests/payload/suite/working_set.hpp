// Domains that use a working set of enclave pages (guest/payload/working_set.hpp): what is to be done, and what a right
// answer is.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest/payload/working_set.hpp"
#include "machine.hpp"

namespace cloister::payload {

struct WorkingSet {
  struct Run {
    std::vector<std::vector<u32>> orders;  ///< each thread's, of the same length: pages
    u32 times = 1;
    bool writes = false;
  };
  u32 pages = 0;  ///< of the enclave, beside those that its threads need
  u32 threads = 1;
  std::vector<Run> runs;

  /// What the enclave takes of EPC, in pages, with its SECS.
  u32 epc_pages() const { return 1 + ::working_set::all_pages(pages, threads); }
  std::vector<u8> ramdisk() const;
};

/// What the guest said: a line for the beginning, the enclave's build and each run.
struct Sighting {
  u64 sum, counters, touched;
};
std::optional<Sighting> sighting_of(const std::string& line);

/// What the threads of a run must have read.
u64 expected_sum(const WorkingSet::Run& run);

/// From 0 on.
std::vector<u32> streaming(u32 pages);
std::vector<u32> uniform(u32 pages, u32 count, u32 seed);
/// A page's chance goes with 1 / rank^0.99; ranks are shuffled over the pages.
std::vector<u32> zipf(u32 pages, u32 count, u32 seed);

}  // namespace cloister::payload
