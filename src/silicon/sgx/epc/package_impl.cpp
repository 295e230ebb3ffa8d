// What a package is made of: memory for its EPC sections, and the places of frames in it.
#include "silicon/sgx/epc/package_impl.hpp"

#include <cassert>

#include "silicon/state/host_features.hpp"

namespace cloister::silicon {

SgxFeatures implemented_here(const SgxFeatures& asked) {
  SgxFeatures sgx = implemented(asked);
  sgx.xfrm &= host_features().xcr0();
  return sgx;
}

PackageImpl::PackageImpl(Config config)
    : config_(std::move(config)),
      keys_(config_.root_secret, config_.paging_secret.value_or(config_.root_secret), config_.boot,
            std::static_pointer_cast<MachineCounters>(config_.counters)) {
  if (config_.cpusvn) keys_.power_on(*config_.cpusvn);
  config_.features.sgx = implemented_here(config_.features.sgx);
  if (!config_.features.has_sgx()) config_.epc = {};
  take_memory();
  pages_ = memory_->impl().page(0);
  epcm_ = memory_->impl().entries();
  for (const EpcSection& section : config_.epc) {
    by_frame_.push_back({section.first, section.pages, static_cast<u32>(epc_pages_)});
    epc_pages_ += section.pages;
  }
  std::ranges::sort(by_frame_, {}, &Place::first);
  assert(std::ranges::adjacent_find(
             by_frame_, [](const Place& a, const Place& b) { return b.first - a.first < a.pages; }) == by_frame_.end());
  for (const Mfn frame : config_.faulty_frames) {
    if (const auto index = index_of(frame)) faulty_.push_back(*index);
  }
  std::ranges::sort(faulty_);
}

/// Finds memory for the sections, and drops those for which there is none.
void PackageImpl::take_memory() {
  std::erase_if(config_.epc, [](const EpcSection& section) { return section.pages == 0; });
  u64 wanted = 0;
  for (const EpcSection& section : config_.epc) wanted += section.pages;
  memory_ = std::static_pointer_cast<EpcMemory>(config_.memory);  // it is one of ours: no Backend mixes them
  if (memory_ != nullptr) {
    memory_->impl().reset_processors();
  } else if (wanted < EpcMemory::Impl::most_pages) {
    memory_ = EpcMemory::Impl::create_private(wanted).value_or(nullptr);
  }
  if (memory_ == nullptr) memory_ = EpcMemory::Impl::create_private(0).value();
  states_ = map_host(memory_->pages() * sizeof(PageState));
  u64 left = states_ != nullptr ? memory_->pages() : 0;
  const auto without = std::ranges::find_if(config_.epc, [&](const EpcSection& section) {
    if (section.pages > left) return true;
    left -= section.pages;
    return false;
  });
  config_.epc.erase(without, config_.epc.end());
}

std::optional<u32> PackageImpl::index_of(Mfn frame) const {
  const auto after = std::ranges::upper_bound(by_frame_, frame, {}, &Place::first);
  if (after == by_frame_.begin()) return std::nullopt;
  const Place& place = *std::prev(after);
  const u64 offset = frame - place.first;
  if (offset >= place.pages) return std::nullopt;
  return static_cast<u32>(place.index + offset);
}

}  // namespace cloister::silicon
