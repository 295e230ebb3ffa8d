// One processor package: its EPC and EPCM, and the leaves that root mode runs on them.
#include "silicon/sgx/package_impl.hpp"

namespace cloister::silicon {

Package::Impl::Impl(Config config) : config_(std::move(config)), keys_(config_.root_secret, config_.boot) {
  config_.features.sgx = implemented(config_.features.sgx);
  if (!config_.features.has_sgx()) config_.epc = {};
  if (epc_pages() == 0) return;
  memory_ = map_host(epc_pages() * arch::page_size);
  epcm_ = std::make_unique<EpcmEntry[]>(epc_pages());
  states_ = std::make_unique<PageState[]>(epc_pages());
}

std::optional<u32> Package::Impl::index_of(Mfn frame) const {
  if (!config_.epc || memory_ == nullptr || frame < config_.epc->first) return std::nullopt;
  const u64 index = frame - config_.epc->first;
  if (index >= config_.epc->pages) return std::nullopt;
  return static_cast<u32>(index);
}

Package::Package(Config config) : impl_(std::make_unique<Impl>(std::move(config))) {}
Package::~Package() = default;

EnclsResult Package::eremove(Mfn frame) {
  const auto index = impl_->index_of(frame);
  if (!index) return {.fault = arch::vector::pf, .rax = 0};
  const Held held(impl_->epcm(*index).lock, LockMode::exclusive);
  if (!held) return {.fault = arch::vector::gp, .rax = 0};
  const std::scoped_lock guard(impl_->mutex());
  return {.fault = std::nullopt, .rax = static_cast<u64>(eremove_page(*impl_, *index))};
}

}  // namespace cloister::silicon
