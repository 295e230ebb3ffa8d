#include "daemon/shape.hpp"

#include "hypervisor/saving/state.hpp"
#include "plan/plan.hpp"
#include "plan/spec.hpp"
#include "stream/codec.hpp"

namespace cloister::toolstack {

using hypervisor::DomainShape;

tl::expected<std::vector<u8>, std::string> shape_of_domain(const vmx::Backend& silicon, const DomainConfig& config,
                                                           const PackageValues& package, const Grants& grants) {
  const auto plan = make_plan(silicon, config, package_config(package, grants), packages_of(grants));
  if (!plan) return tl::unexpected(plan.error().message);
  return stream::encode(hypervisor::shape_of(make_spec(*plan, {}, vmx::ClockMode::host, {})));
}

HostFeatures host_features_of_shape(std::span<const u8> shape) {
  const auto known = stream::decode<DomainShape>(shape);
  return known ? host_features_of(*known) : HostFeatures{};
}

tl::expected<void, std::string> is_same_shape(const std::vector<u8>& there, const std::vector<u8>& here) {
  const auto found = stream::decode<DomainShape>(here), expected = stream::decode<DomainShape>(there);
  if (!found || !expected)
    return tl::unexpected(std::string("what its guest knows of its processors cannot be understood"));
  if (const std::string differs = hypervisor::difference(*expected, *found); !differs.empty())
    return tl::unexpected("its guest would find another machine: " + differs);
  return {};
}

}  // namespace cloister::toolstack
