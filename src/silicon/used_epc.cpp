// A frame was never used if the EPCM's file has a hole where its entry would be.
#include <algorithm>

#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

namespace {

/// Runs of frames for a range of indices: the sections follow each other.
void add_range(std::span<const EpcSection> sections, u64 first, u64 end, std::vector<EpcSection>& frames) {
  u64 index = 0;
  for (const EpcSection& section : sections) {
    const u64 from = std::max(first, index), to = std::min(end, index + section.pages);
    if (from < to) frames.push_back({section.first + (from - index), to - from});
    index += section.pages;
  }
}

std::vector<EpcSection> joined(std::vector<EpcSection> frames) {
  std::ranges::sort(frames, {}, &EpcSection::first);
  std::vector<EpcSection> runs;
  for (const EpcSection& next : frames) {
    const u64 offset = runs.empty() ? 0 : next.first - runs.back().first;
    if (runs.empty() || offset > runs.back().pages) {
      runs.push_back(next);
    } else {
      runs.back().pages = std::max(runs.back().pages, offset + next.pages);
    }
  }
  return runs;
}

}  // namespace

std::vector<EpcSection> Package::used_epc() const {
  PackageImpl& impl = *impl_;
  const EpcMemory::Impl& memory = impl.memory().impl();
  const auto& sections = impl.config().epc;
  std::vector<EpcSection> frames;
  for_each_data(memory.epcm_file.get(), epcm_entries_at, memory.epcm_bytes(memory.pages), [&](u64 first, u64 end) {
    static_assert(arch::page_size % sizeof(EpcmEntry) == 0);
    add_range(sections, (first - epcm_entries_at) / sizeof(EpcmEntry), (end - epcm_entries_at) / sizeof(EpcmEntry),
              frames);
  });
  for (const Mfn frame : impl.config().faulty_frames) {
    if (impl.index_of(frame)) frames.push_back({frame, 1});
  }
  return joined(std::move(frames));
}

}  // namespace cloister::silicon
