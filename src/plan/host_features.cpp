#include "plan/host_features.hpp"

#include <algorithm>

#include "policy/policy.hpp"

namespace cloister::toolstack {

namespace {

const policy::Feature& feature_of(std::string_view name) { return *policy::find_feature(name); }

/// The word that has the feature's bit.
const vmx::FeatureWordRow& word_of(const policy::Feature& feature) {
  return *std::ranges::find_if(vmx::feature_word_rows, [&](const vmx::FeatureWordRow& row) {
    return row.leaf == feature.leaf && row.subleaf == feature.subleaf && row.reg == feature.reg;
  });
}

template <class Has>
HostFeatures those(Has has) {
  HostFeatures found;
  std::ranges::copy_if(all_host_features(), std::back_inserter(found),
                       [&](std::string_view name) { return has(feature_of(name)); });
  return found;
}

}  // namespace

const HostFeatures& all_host_features() {
  static const HostFeatures all{"avx", "fma", "f16c", "avx2", "vaes", "vpclmulqdq"};
  return all;
}

const std::string_view* find_host_feature(std::string_view name) {
  const auto found = std::ranges::find(all_host_features(), name);
  return found == all_host_features().end() ? nullptr : &*found;
}

HostFeatures host_features_of(const vmx::Features& features) {
  return those(
      [&](const policy::Feature& feature) { return (features.*word_of(feature).word >> feature.bit & 1) != 0; });
}

HostFeatures host_features_of(const hypervisor::DomainShape& shape) {
  return those([&](const policy::Feature& feature) {
    return std::ranges::any_of(shape.cpuid, [&](const hypervisor::DomainShape::Cpuid& row) {
      return row.leaf == feature.leaf && row.subleaf == feature.subleaf &&
             arch::has({row.eax, row.ebx, row.ecx, row.edx}, feature);
    });
  });
}

HostFeatures demanded_host_features(const DomainConfig& config) {
  const bool demanded = std::ranges::any_of(config.cpuid, [](const policy::CpuidOverride& one) {
    return one.on && find_host_feature(one.feature) != nullptr;
  });
  return demanded ? all_host_features() : HostFeatures{};
}

vmx::Features with_host_features(vmx::Features features, const HostFeatures& chosen) {
  const auto has = [&](std::string_view name) { return std::ranges::count(chosen, name) != 0; };
  for (const std::string_view name : all_host_features()) {
    const policy::Feature& feature = feature_of(name);
    if (!has(name)) features.*word_of(feature).word &= ~(u32{1} << feature.bit);
  }
  // Enclaves have no component that the processor has not (SDM vol. 3D, 38.3, ECREATE).
  constexpr u64 avx = 1 << 2;
  if (!has("avx")) features.sgx.xfrm &= ~avx;
  return features;
}

}  // namespace cloister::toolstack
