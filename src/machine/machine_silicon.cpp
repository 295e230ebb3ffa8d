#include "machine/machine_silicon.hpp"

namespace cloister::toolstack {

namespace {

using arch::CpuidRegs;
using policy::CpuidTable;
namespace leaf = arch::leaf;

vmx::SgxFeatures sgx_features(const CpuidTable& leaves) {
  vmx::SgxFeatures sgx;
  for (const vmx::SgxFlagRow& row : vmx::sgx_flag_rows)
    sgx.*row.flag = arch::has(leaves.get(row.bit.leaf, row.bit.subleaf), row.bit);
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
  features.signature = leaves.get(leaf::version, 0).eax;
  features.brand = policy::brand_of(leaves);
  for (const vmx::FeatureWordRow& row : vmx::feature_word_rows)
    features.*row.word = arch::value_of(leaves.get(row.leaf, row.subleaf), row.reg);
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
