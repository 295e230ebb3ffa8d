// libvirt 11.3's map (Debian 13), its models of Intel's and of no vendor that have lm, and no feature that is `added`
// later. Version 9.0 (Debian 12) says the same of those that it has, but for mpx, which QEMU's models lost in
// version 4. ctest -R oracle.libvirt.models compares the table with the map that is installed.
#include "policy/libvirt_models.hpp"

#include <algorithm>

#include "policy/dependence.hpp"
#include "policy/descriptions.hpp"
#include "text/split.hpp"

namespace cloister::policy {

using namespace arch;

namespace {

constexpr std::string_view none = "";
constexpr std::string_view cascadelake_v2 = "ibrs-all mds-no rdctl-no skip-l1dfl-vmentry";
constexpr std::string_view icelake = "wbnoinvd";
constexpr std::string_view icelake_v3 = "ibrs-all mds-no pschange-mc-no rdctl-no skip-l1dfl-vmentry taa-no wbnoinvd";
constexpr std::string_view cooperlake = "avx512-bf16 ibrs-all mds-no pschange-mc-no rdctl-no skip-l1dfl-vmentry taa-no";
constexpr std::string_view snowridge = "split-lock-detect";
constexpr std::string_view sapphire_rapids =
    "avx-vnni avx512-bf16 fsrc fsrs fzrm ibrs-all mds-no pschange-mc-no rdctl-no skip-l1dfl-vmentry taa-no wbnoinvd";
constexpr std::string_view sapphire_rapids_v2 =
    "avx-vnni avx512-bf16 fbsdp-no fsrc fsrs fzrm ibrs-all mds-no pschange-mc-no psdp-no rdctl-no sbdr-ssdp-no "
    "skip-l1dfl-vmentry taa-no wbnoinvd";
constexpr std::string_view granite_rapids =
    "amx-fp16 avx-vnni avx512-bf16 fbsdp-no fsrc fsrs fzrm ibrs-all mcdt-no mds-no pbrsb-no prefetchiti pschange-mc-no "
    "psdp-no rdctl-no sbdr-ssdp-no skip-l1dfl-vmentry taa-no wbnoinvd";
constexpr std::string_view granite_rapids_v2 =
    "amx-fp16 avx-vnni avx10 avx10-128 avx10-256 avx10-512 avx512-bf16 fbsdp-no fsrc fsrs fzrm ibrs-all mcdt-no mds-no "
    "pbrsb-no prefetchiti pschange-mc-no psdp-no rdctl-no sbdr-ssdp-no skip-l1dfl-vmentry taa-no wbnoinvd";
constexpr std::string_view sierra_forest =
    "avx-ifma avx-ne-convert avx-vnni avx-vnni-int8 cmpccxadd fbsdp-no fsrs ibrs-all mcdt-no mds-no pbrsb-no "
    "pschange-mc-no psdp-no rdctl-no sbdr-ssdp-no skip-l1dfl-vmentry wbnoinvd";
constexpr std::string_view denverton = "rdctl-no skip-l1dfl-vmentry";
constexpr LibvirtModel table[] = {
    {"core2duo core2duo-v1", 0, {0x00000209, 0x078bfbff, 0, 0, 0, 0, 0, 0x20100800}, none},
    {"cpu64-rhel5", 0, {0x00000001, 0x078bfbfd, 0, 0, 0, 0, 0, 0x20100800}, none},
    {"cpu64-rhel6", 0, {0x00002001, 0x078bfbfd, 0, 0, 0, 0, 0x00000001, 0x20100800}, none},
    {"qemu64 qemu64-v1", 0, {0x00002001, 0x078bfbfd, 0, 0, 0, 0, 0x00000004, 0x20100800}, none},
    {"kvm64 kvm64-v1", 0, {0x00002001, 0x078bfbfd, 0, 0, 0, 0, 0, 0x20100800}, none},
    {"Conroe Conroe-v1", 0x6f0, {0x00000201, 0x078bfbfd, 0, 0, 0, 0, 0x00000001, 0x20100800}, none},
    {"Penryn Penryn-v1", 0x10670, {0x00082201, 0x078bfbfd, 0, 0, 0, 0, 0x00000001, 0x20100800}, none},
    {"Nehalem Nehalem-v1", 0x106a0, {0x00982201, 0x078bfbfd, 0, 0, 0, 0, 0x00000001, 0x20100800}, none},
    {"Nehalem-IBRS Nehalem-v2", 0x106a0, {0x00982201, 0x078bfbfd, 0, 0, 0x04000000, 0, 0x00000001, 0x20100800}, none},
    {"Westmere Westmere-v1", 0x206c0, {0x02982201, 0x078bfbfd, 0, 0, 0, 0, 0x00000001, 0x20100800}, none},
    {"Westmere-IBRS Westmere-v2", 0x206c0, {0x02982201, 0x078bfbfd, 0, 0, 0x04000000, 0, 0x00000001, 0x20100800}, none},
    {"SandyBridge SandyBridge-v1", 0x206a0, {0x17b82203, 0x078bfbfd, 0, 0, 0, 0, 0x00000001, 0x28100800}, none},
    {"SandyBridge-IBRS SandyBridge-v2",
     0x206a0,
     {0x17b82203, 0x078bfbfd, 0, 0, 0x04000000, 0, 0x00000001, 0x28100800},
     none},
    {"IvyBridge IvyBridge-v1", 0x306a0, {0x77b82203, 0x078bfbff, 0x00000281, 0, 0, 0, 0x00000001, 0x28100800}, none},
    {"IvyBridge-IBRS IvyBridge-v2",
     0x306a0,
     {0x77b82203, 0x078bfbff, 0x00000281, 0, 0x04000000, 0, 0x00000001, 0x28100800},
     none},
    {"Haswell-noTSX Haswell-v2", 0x306c0, {0x17fa3203, 0x078bfbfd, 0x000007a9, 0, 0, 0, 0x00000001, 0x28100800}, none},
    {"Haswell-noTSX-IBRS Haswell-v4",
     0x306c0,
     {0x17fa3203, 0x078bfbfd, 0x000007a9, 0, 0x04000000, 0, 0x00000001, 0x28100800},
     none},
    {"Haswell Haswell-v1", 0x306c0, {0x17fa3203, 0x078bfbfd, 0x00000fb9, 0, 0, 0, 0x00000001, 0x28100800}, none},
    {"Haswell-IBRS Haswell-v3",
     0x306c0,
     {0x17fa3203, 0x078bfbfd, 0x00000fb9, 0, 0x04000000, 0, 0x00000001, 0x28100800},
     none},
    {"Broadwell-noTSX Broadwell-v2",
     0x306d0,
     {0x17fa3203, 0x078bfbfd, 0x001c07a9, 0, 0, 0, 0x00000101, 0x28100800},
     none},
    {"Broadwell-noTSX-IBRS Broadwell-v4",
     0x306d0,
     {0x17fa3203, 0x078bfbfd, 0x001c07a9, 0, 0x04000000, 0, 0x00000101, 0x28100800},
     none},
    {"Broadwell Broadwell-v1", 0x306d0, {0x17fa3203, 0x078bfbfd, 0x001c0fb9, 0, 0, 0, 0x00000101, 0x28100800}, none},
    {"Broadwell-IBRS Broadwell-v3",
     0x306d0,
     {0x17fa3203, 0x078bfbfd, 0x001c0fb9, 0, 0x04000000, 0, 0x00000101, 0x28100800},
     none},
    {"Skylake-Client Skylake-Client-v1",
     0x506e0,
     {0x77fa3203, 0x078bfbff, 0x001c0fb9, 0, 0, 0x00000007, 0x00000121, 0x28100800},
     none},
    {"Skylake-Client-IBRS Skylake-Client-v2",
     0x506e0,
     {0x77fa3203, 0x078bfbff, 0x001c0fb9, 0, 0x04000000, 0x00000007, 0x00000121, 0x28100800},
     none},
    {"Skylake-Client-noTSX-IBRS Skylake-Client-v3",
     0x506e0,
     {0x77fa3203, 0x078bfbff, 0x001c07a9, 0, 0x04000000, 0x00000007, 0x00000121, 0x28100800},
     none},
    {"Skylake-Client-v4",
     0x506e0,
     {0x77fa3203, 0x078bfbff, 0x001c07a9, 0, 0x04000000, 0x0000000f, 0x00000121, 0x28100800},
     none},
    {"Skylake-Server Skylake-Server-v1",
     0x50650,
     {0x77fa3203, 0x078bfbff, 0xd11f0fb9, 0, 0, 0x00000007, 0x00000121, 0x2c100800},
     none},
    {"Skylake-Server-IBRS Skylake-Server-v2",
     0x50650,
     {0x77fa3203, 0x078bfbff, 0xd11f0fb9, 0, 0x04000000, 0x00000007, 0x00000121, 0x2c100800},
     none},
    {"Skylake-Server-noTSX-IBRS Skylake-Server-v3",
     0x50650,
     {0x77fa3203, 0x078bfbff, 0xd11f07a9, 0, 0x04000000, 0x00000007, 0x00000121, 0x2c100800},
     none},
    {"Skylake-Server-v4",
     0x50650,
     {0x77fa3203, 0x078bfbff, 0xd11f07a9, 0x00000008, 0x04000000, 0x00000007, 0x00000121, 0x2c100800},
     none},
    {"Skylake-Server-v5",
     0x50650,
     {0x77fa3203, 0x078bfbff, 0xd11f07a9, 0x00000008, 0x04000000, 0x0000000f, 0x00000121, 0x2c100800},
     none},
    {"Cascadelake-Server Cascadelake-Server-v1",
     0x50655,
     {0x77fa3203, 0x078bfbff, 0xd19f0fb9, 0x00000800, 0x84000000, 0x00000007, 0x00000121, 0x2c100800},
     none},
    {"Cascadelake-Server-noTSX Cascadelake-Server-v3",
     0x50655,
     {0x77fa3203, 0x078bfbff, 0xd19f07a9, 0x00000800, 0x84000000, 0x00000007, 0x00000121, 0x2c100800},
     none},
    {"Cascadelake-Server-v2",
     0x50655,
     {0x77fa3203, 0x078bfbff, 0xd19f0fb9, 0x00000808, 0xa4000000, 0x00000007, 0x00000121, 0x2c100800},
     cascadelake_v2},
    {"Cascadelake-Server-v4",
     0x50655,
     {0x77fa3203, 0x078bfbff, 0xd19f07a9, 0x00000808, 0xa4000000, 0x00000007, 0x00000121, 0x2c100800},
     cascadelake_v2},
    {"Cascadelake-Server-v5",
     0x50655,
     {0x77fa3203, 0x078bfbff, 0xd19f07a9, 0x00000808, 0xa4000000, 0x0000000f, 0x00000121, 0x2c100800},
     cascadelake_v2},
    {"Icelake-Client",
     0x706e0,
     {0x77fa3203, 0x078bfbff, 0x001c4fb9, 0x00005f4e, 0x84000000, 0x00000007, 0x00000121, 0x28100800},
     icelake},
    {"Icelake-Client-noTSX",
     0x706e0,
     {0x77fa3203, 0x078bfbff, 0x001c47a9, 0x00005f4e, 0x84000000, 0x00000007, 0x00000121, 0x28100800},
     icelake},
    {"Icelake-Server Icelake-Server-v1",
     0x606a0,
     {0x77fa3203, 0x078bfbff, 0xd19f0fb9, 0x00015f4e, 0x84000000, 0x00000007, 0x00000121, 0x2c100800},
     icelake},
    {"Icelake-Server-noTSX Icelake-Server-v2",
     0x606a0,
     {0x77fa3203, 0x078bfbff, 0xd19f07a9, 0x00015f4e, 0x84000000, 0x00000007, 0x00000121, 0x2c100800},
     icelake},
    {"Icelake-Server-v3",
     0x606a0,
     {0x77fa3203, 0x078bfbff, 0xd19f07a9, 0x00015f4e, 0xa4000000, 0x00000007, 0x00000121, 0x2c100800},
     icelake_v3},
    {"Icelake-Server-v4",
     0x606a0,
     {0x77fa3203, 0x078bfbff, 0xf1bf07a9, 0x00415f4e, 0xa4000010, 0x00000007, 0x00000121, 0x2c100800},
     icelake_v3},
    {"Icelake-Server-v5 Icelake-Server-v6",
     0x606a0,
     {0x77fa3203, 0x078bfbff, 0xf1bf07a9, 0x00415f4e, 0xa4000010, 0x0000000f, 0x00000121, 0x2c100800},
     icelake_v3},
    {"Icelake-Server-v7",
     0x606a0,
     {0x77fa3203, 0x078bfbff, 0xf1bf0fb9, 0x00415f4e, 0xa4000010, 0x0000000f, 0x00000121, 0x2c100800},
     icelake_v3},
    {"Cooperlake Cooperlake-v1",
     0x5065a,
     {0x77fa3203, 0x078bfbff, 0xd19f0fb9, 0x00000808, 0xac000000, 0x00000007, 0x00000121, 0x2c100800},
     cooperlake},
    {"Cooperlake-v2",
     0x5065a,
     {0x77fa3203, 0x078bfbff, 0xd19f0fb9, 0x00000808, 0xac000000, 0x0000000f, 0x00000121, 0x2c100800},
     cooperlake},
    {"Snowridge Snowridge-v1 Snowridge-v2",
     0x80660,
     {0x47f82203, 0x078bfbff, 0x21940281, 0x1a000104, 0xe4000000, 0x00000007, 0x00000101, 0x2c100800},
     snowridge},
    {"Snowridge-v3",
     0x80660,
     {0x47f82203, 0x078bfbff, 0x21940281, 0x1a000104, 0xe4000000, 0x0000000f, 0x00000101, 0x2c100800},
     snowridge},
    {"Snowridge-v4",
     0x80660,
     {0x47f82203, 0x078bfbff, 0x21940281, 0x1a000104, 0xa4000000, 0x0000000f, 0x00000101, 0x2c100800},
     none},
    {"SapphireRapids SapphireRapids-v1",
     0x806f0,
     {0x77fa3203, 0x078bfbff, 0xf1bf0fb9, 0x01415f4e, 0xa7c14010, 0x0000001f, 0x00000121, 0x2c100800},
     sapphire_rapids},
    {"SapphireRapids-v2",
     0x806f0,
     {0x77fa3203, 0x078bfbff, 0xf1bf0fb9, 0x01415f4e, 0xa7c14010, 0x0000001f, 0x00000121, 0x2c100800},
     sapphire_rapids_v2},
    {"SapphireRapids-v3",
     0x806f0,
     {0x77fa3203, 0x0f8bfbff, 0xf1bf0fbb, 0x1b415f4e, 0xa7c14010, 0x0000001f, 0x00000121, 0x2c100800},
     sapphire_rapids_v2},
    {"GraniteRapids GraniteRapids-v1",
     0xa06d0,
     {0x77fa3203, 0x078bfbff, 0xf1bf0fb9, 0x01415f4e, 0xa7c14010, 0x0000001f, 0x00000121, 0x2c100800},
     granite_rapids},
    {"GraniteRapids-v2",
     0xa06d0,
     {0x77fa3203, 0x0f8bfbff, 0xf1bf0fbb, 0x1b415f4e, 0xa7c14010, 0x0000001f, 0x00000121, 0x2c100800},
     granite_rapids_v2},
    {"SierraForest SierraForest-v1",
     0xa06f0,
     {0x77fa3203, 0x078bfbff, 0x219c07a9, 0x0140070c, 0xa4004010, 0x0000000f, 0x00000121, 0x2c100800},
     sierra_forest},
    {"Denverton Denverton-v1",
     0x506f0,
     {0x47f82203, 0x078bfbff, 0x20944281, 0, 0xa4000000, 0x00000007, 0x00000101, 0x2c100800},
     denverton},
    {"Denverton-v2",
     0x506f0,
     {0x47f82203, 0x078bfbff, 0x20940281, 0, 0xa4000000, 0x00000007, 0x00000101, 0x2c100800},
     denverton},
    {"Denverton-v3",
     0x506f0,
     {0x47f82203, 0x078bfbff, 0x20940281, 0, 0xa4000000, 0x0000000f, 0x00000101, 0x2c100800},
     denverton},
    {"KnightsMill KnightsMill-v1",
     0x80650,
     {0x77f83203, 0x0f8bfbff, 0x1c0d03a9, 0x00004000, 0x0000000c, 0x00000001, 0x00000121, 0x2c100800},
     none},
};

/// XSAVE components by the feature that brings them, as QEMU lets enclaves have them (SDM vol. 1, 13.1).
struct Component {
  std::string_view feature;
  u32 bits;
};
constexpr Component components[] = {
    {"avx", 1u << 2}, {"mpx", 3u << 3}, {"avx512f", 7u << 5}, {"pku", 1u << 9}, {"amx-tile", 3u << 17}};

}  // namespace

std::span<const LibvirtModel> libvirt_models() { return table; }

const LibvirtModel* find_libvirt_model(std::string_view name) {
  const auto* const found = std::ranges::find_if(
      table, [&](const LibvirtModel& m) { return std::ranges::count(text::split(m.names, ' '), name) != 0; });
  return found == std::end(table) ? nullptr : found;
}

std::vector<std::string_view> libvirt_model_names() {
  std::vector<std::string_view> names;
  for (const LibvirtModel& model : table) names.push_back(model.name());
  return names;
}

CpuidTable leaves_of(const LibvirtModel& model, std::string_view name, std::span<const CpuidOverride> flags) {
  constexpr u32 ice_lakes_sizes = 0x2f1f;
  CpuidTable leaves = leaves_of(Description{.name = model.name(),
                                            .brand = name,
                                            .signature = model.signature,
                                            .leaf1_ecx = model.words[0],
                                            .leaf1_edx = model.words[1],
                                            .leaf7_ebx = model.words[2],
                                            .leaf7_ecx = model.words[3],
                                            .leaf7_edx = model.words[4],
                                            .xsave_eax = model.words[5],
                                            .extended_ecx = model.words[6],
                                            .extended_edx = model.words[7],
                                            .capabilities = {0, 0, 0, ice_lakes_sizes},
                                            .attributes = {},
                                            .epc_property = 1});
  for (const CpuidOverride& flag : flags) {
    if (const Feature* const feature = find_feature(flag.feature)) put(leaves, *feature, flag.on);
  }
  CpuidRegs attributes = leaves.get(leaf::sgx, 1);
  attributes.ecx = 3;
  for (const Component& component : components) {
    if (has(leaves, *find_feature(component.feature))) attributes.ecx |= component.bits;
  }
  leaves.set(leaf::sgx, 1, attributes);
  return leaves;
}

std::vector<std::string_view> beyond_words(const LibvirtModel& model) { return text::split(model.beyond, ' '); }

}  // namespace cloister::policy
