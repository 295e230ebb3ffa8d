#include "machine/machine_silicon.hpp"

namespace cloister::toolstack {

namespace {

using arch::CpuidRegs;
using policy::CpuidTable;
namespace leaf = arch::leaf;

vmx::SgxFeatures sgx_features(const CpuidTable& leaves) {
  const auto has = [&](std::string_view name) { return policy::has(leaves, *policy::find_feature(name)); };
  vmx::SgxFeatures sgx;
  sgx.sgx2 = has("sgx2");
  sgx.enclv = has("sgx-enclv");
  sgx.oss = has("sgx-oss");
  sgx.edeccssa = has("sgx-edeccssa");
  sgx.exinfo = has("sgx-exinfo");
  sgx.kss = has("sgx-kss");
  sgx.aexnotify = has("sgx-aex-notify");
  const CpuidRegs sizes = leaves.get(leaf::sgx, 0), attributes = leaves.get(leaf::sgx, 1);
  sgx.log2_size_32 = static_cast<u8>(sizes.edx);
  sgx.log2_size_64 = static_cast<u8>(sizes.edx >> 8);
  sgx.xfrm = u64{attributes.edx} << 32 | attributes.ecx;
  // A dump may end before the sections.
  if (const u8 property = leaves.get(leaf::sgx, 2).ecx & 0xf; property != 0) sgx.epc_property = property;
  return sgx;
}

}  // namespace

vmx::Features features_of(const CpuidTable& leaves) {
  vmx::Features features;
  const CpuidRegs version = leaves.get(leaf::version, 0), structured = leaves.get(leaf::features, 0),
                  extended = leaves.get(leaf::extended_features, 0);
  features.signature = version.eax;
  features.brand = policy::brand_of(leaves);
  features.leaf1_ecx = version.ecx;
  features.leaf1_edx = version.edx;
  features.leaf7_ebx = structured.ebx;
  features.leaf7_ecx = structured.ecx;
  features.leaf7_edx = structured.edx;
  features.xsave_eax = leaves.get(leaf::xsave, 1).eax;
  features.extended_ecx = extended.ecx;
  features.extended_edx = extended.edx;
  features.sgx = sgx_features(leaves);
  return features;
}

// SYSCALL's bit reads 0 outside 64-bit mode, where many programs ask (SDM vol. 2A, CPUID, leaf 80000001H).
CpuidTable with_syscall(CpuidTable leaves) {
  if (const policy::Feature& lm = *policy::find_feature("lm"); policy::has(leaves, lm)) {
    CpuidRegs extended = leaves.get(lm.leaf, 0);
    extended.edx |= 1u << policy::find_feature("syscall")->bit;
    leaves.set(lm.leaf, 0, extended);
  }
  return leaves;
}

vmx::Features machine_features(std::string_view machine) {
  const policy::Description* const description = policy::find_description(machine);
  if (description == nullptr) return {};
  return within(vmx::Features{}, features_of(with_syscall(policy::leaves_of(*description))));
}

}  // namespace cloister::toolstack
