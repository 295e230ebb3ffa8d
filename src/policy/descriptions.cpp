// The descriptions, oldest first. Registers are those of a dump that InstLatX64 published for a processor of that kind;
// where its machine's firmware had SGX switched off, leaf 12H is from an owner's report of another machine of the kind
// (github.com/ayeks/SGX-hardware).
#include "policy/descriptions.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "policy/feature_rows.hpp"
#include "text/nearest.hpp"
#include "text/shown.hpp"

namespace cloister::policy {

using namespace arch;

namespace {

constexpr CpuidRegs first_capabilities{0x1, 0, 0, 0x241f};

constexpr Description table[] = {
    // Leaf 12H: the report of a Core i7 of the same model (506E3).
    {.name = "skylake-client",
     .brand = "Intel(R) Core(TM) i5-6400T CPU @ 2.20GHz",
     .signature = 0x506e3,
     .leaf1_ecx = 0x77fafbff,
     .leaf1_edx = 0xbfebfbff,
     .leaf7_ebx = 0x029c67af,
     .leaf7_ecx = 0,
     .leaf7_edx = 0,
     .xsave_eax = 0xf,
     .extended_ecx = 0x121,
     .extended_edx = 0x2c100800,
     .capabilities = first_capabilities,
     .attributes = {0x36, 0, 0x1f, 0},
     .epc_property = 1},
    // `cpuid -r` on a laptop of 2017.
    {.name = "kabylake-client",
     .brand = "Intel(R) Core(TM) i5-8350U CPU @ 1.70GHz",
     .signature = 0x806ea,
     .leaf1_ecx = 0x77fafbff,
     .leaf1_edx = 0xbfebfbff,
     .leaf7_ebx = 0x029c67af,
     .leaf7_ecx = 0,
     .leaf7_edx = 0xbc002e00,
     .xsave_eax = 0xf,
     .extended_ecx = 0x121,
     .extended_edx = 0x2c100800,
     .capabilities = first_capabilities,
     .attributes = {0x36, 0, 0x1f, 0},
     .epc_property = 1},
    // All by owners of machines with a Pentium J5005 and its successor: the first processors with SGX2.
    {.name = "gemini-lake",
     .brand = "Intel(R) Pentium(R) Silver J5005 CPU @ 1.50GHz",
     .signature = 0x706a1,
     .leaf1_ecx = 0x47f8ebbf,
     .leaf1_edx = 0xbfebfbff,
     .leaf7_ebx = 0x2294e287,
     .leaf7_ecx = 0x40400004,
     .leaf7_edx = 0xac000400,
     .xsave_eax = 0xf,
     .extended_ecx = 0x101,
     .extended_edx = 0x2c100800,
     .capabilities = {0x3, 1, 0, 0x241f},
     .attributes = {0x36, 0, 0x1b, 0},
     .epc_property = 1},
    // The first generation with launch control. The dump ends after sub-leaf 0 of leaf 12H; sub-leaves 1 and 2 are the
    // report of a Xeon E-2276G.
    {.name = "coffeelake-client",
     .brand = "Intel(R) Core(TM) i9-9900K CPU @ 3.60GHz",
     .signature = 0x906ec,
     .leaf1_ecx = 0x77fafbff,
     .leaf1_edx = 0xbfebfbff,
     .leaf7_ebx = 0x029c6fbf,
     .leaf7_ecx = 0x40000000,
     .leaf7_edx = 0xbc000000,
     .xsave_eax = 0xf,
     .extended_ecx = 0x121,
     .extended_edx = 0x2c100800,
     .capabilities = first_capabilities,
     .attributes = {0x36, 0, 0x1f, 0},
     .epc_property = 1},
    {.name = "icelake-client",
     .brand = "Intel(R) Core(TM) i7-1065G7 CPU @ 1.30GHz",
     .signature = 0x706e5,
     .leaf1_ecx = 0x77fafbbf,
     .leaf1_edx = 0xbfebfbff,
     .leaf7_ebx = 0xf2bf27ef,
     .leaf7_ecx = 0x40405f4e,
     .leaf7_edx = 0xbc000410,
     .xsave_eax = 0xf,
     .extended_ecx = 0x121,
     .extended_edx = 0x2c100800,
     .capabilities = {0x63, 1, 0, 0x2f1f},
     .attributes = {0xb6, 0, 0x2e7, 0},
     .epc_property = 1},
    // Leaf 12H: the report of a Xeon Gold 5315Y.
    {.name = "icelake-server",
     .brand = "Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz",
     .signature = 0x606a6,
     .leaf1_ecx = 0x77fefbff,
     .leaf1_edx = 0xbfebfbff,
     .leaf7_ebx = 0xf3bfbfff,
     .leaf7_ecx = 0x40417f4e,
     .leaf7_edx = 0xbc040412,
     .xsave_eax = 0xf,
     .extended_ecx = 0x121,
     .extended_edx = 0x2c100800,
     .capabilities = {0x403, 1, 0, 0x381f},
     .attributes = {0xb6, 0, 0x2e7, 0},
     .epc_property = 2},
    // The dump is a workstation's, whose SGX is fused off: its SGX bits are set here. Of leaf 12H only a report of
    // sub-leaf 2 is public (github.com/fortanix/rust-sgx). Sub-leaves 0 and 1 are Ice Lake's with what Intel announced
    // since, EDECCSSA and AEX-Notify, and the XSAVE components of the dump's leaf 0DH.
    {.name = "sapphire-rapids",
     .brand = "Intel(R) Xeon(R) Platinum 8480+",
     .signature = 0x806f8,
     .leaf1_ecx = 0x77fefbff,
     .leaf1_edx = 0xbfebfbff,
     .leaf7_ebx = 0xf3bfbffb | 1u << 2,
     .leaf7_ecx = 0xbb417fee | 1u << 30,
     .leaf7_edx = 0xffdd4430,
     .xsave_eax = 0x1f,
     .extended_ecx = 0x121,
     .extended_edx = 0x2c100800,
     .capabilities = {0xc03, 1, 0, 0x381f},
     .attributes = {0x4b6, 0, 0x602e7, 0},
     .epc_property = 3},
};

// ------------------------------------------------------------------------------------------------ comparing

/// Words of feature bits, less the bits that say something else: states of CR4, topology, a width.
struct Word {
  u32 leaf, subleaf;
  CpuidReg reg;
  u32 ignored = 0;
};
constexpr u32 osxsave = 1u << 27, under_hypervisor = 1u << 31, htt = 1u << 28, ospke = 1u << 4, mawau = 0x1fu << 17;
constexpr Word words[] = {
    {leaf::version, 0, CpuidReg::ecx, osxsave | under_hypervisor},
    {leaf::version, 0, CpuidReg::edx, htt},
    {leaf::features, 0, CpuidReg::ebx},
    {leaf::features, 0, CpuidReg::ecx, ospke | mawau},
    {leaf::features, 0, CpuidReg::edx},
    {leaf::xsave, 1, CpuidReg::eax},
    {leaf::sgx, 0, CpuidReg::eax},
    {leaf::sgx, 0, CpuidReg::ebx},
    {leaf::sgx, 1, CpuidReg::eax},
    {leaf::extended_features, 0, CpuidReg::ecx},
    {leaf::extended_features, 0, CpuidReg::edx},
};

std::string name_of_bit(const Word& word, u8 bit) {
  if (const FeatureRow* const row = row_of({word.leaf, word.subleaf, word.reg, bit})) return std::string(row->name);
  constexpr const char* registers[] = {"EAX", "EBX", "ECX", "EDX"};
  char leaf[8];
  char* const end = std::to_chars(leaf, std::end(leaf), word.leaf, 16).ptr;
  return "bit " + std::to_string(bit) + " of " + registers[static_cast<unsigned>(word.reg)] + " of leaf 0x" +
         std::string(leaf, end);
}

/// XSAVE components by the feature that brings them (SDM vol. 1, 13.1).
struct Component {
  std::string_view name;
  u64 bits;
};
constexpr Component components[] = {{"avx", 1u << 2}, {"mpx", 3u << 3},  {"avx512", 7u << 5},
                                    {"pku", 1u << 9}, {"amx", 3u << 17}, {"apx", 1u << 19}};

u64 xfrm_of(const CpuidTable& leaves) {
  const CpuidRegs attributes = leaves.get(leaf::sgx, 1);
  return u64{attributes.edx} << 32 | attributes.ecx;
}

/// What `one` has and `another` has not.
FeatureNames beyond(const CpuidTable& one, const CpuidTable& another) {
  FeatureNames names;
  // Of a processor whose SGX is off or unknown, leaf 12H says nothing.
  const bool with_sgx = sgx_state(one) == SgxState::offered && sgx_state(another) == SgxState::offered;
  for (const Word& word : words) {
    if (word.leaf == leaf::sgx && !with_sgx) continue;
    const u32 bits = value_of(one.get(word.leaf, word.subleaf), word.reg) &
                     ~value_of(another.get(word.leaf, word.subleaf), word.reg) & ~word.ignored;
    for (u8 bit = 0; bit < 32; ++bit) {
      if ((bits >> bit & 1) == 0) continue;
      const std::string name = name_of_bit(word, bit);
      (word.leaf == leaf::sgx || name.starts_with("sgx") ? names.sgx : names.other).push_back(name);
    }
  }
  if (!with_sgx) return names;
  const u64 xfrm = xfrm_of(one) & ~xfrm_of(another);
  for (const Component& component : components) {
    if ((xfrm & component.bits) != 0) names.sgx.push_back(std::string(component.name) + " in enclaves");
  }
  const auto limit = [](const CpuidTable& leaves) { return leaves.get(leaf::sgx, 0).edx >> 8 & 0xff; };
  if (limit(one) > limit(another)) {
    names.sgx.push_back("enclaves of 2^" + std::to_string(limit(another)) + " bytes and more");
  }
  return names;
}

}  // namespace

std::span<const Description> descriptions() { return table; }

const Description* find_description(std::string_view name) {
  const auto* const found = std::ranges::find(table, name, &Description::name);
  return found == std::end(table) ? nullptr : found;
}

std::string unknown_description(std::string_view name, std::span<const std::string_view> others) {
  std::vector<std::string_view> names{"default"};
  for (const Description& d : table) names.push_back(d.name);
  std::string text = "unknown silicon '" + toolstack::cut(name) + "'";
  const std::vector<std::string_view> listed = names;
  names.insert(names.end(), others.begin(), others.end());
  // Half a name is meant for each that it starts; else typing errors are.
  std::vector<std::string_view> near;
  for (const std::string_view known : names) {
    if (!name.empty() && known.starts_with(name)) near.push_back(known);
  }
  constexpr std::size_t most = 3;
  near.resize(std::min(near.size(), most));
  if (const auto one = text::nearest(name, names); near.empty() && one) near.push_back(*one);
  for (const std::string_view meant : near) {
    text.append(meant == near.front() ? ", did you mean '" : " or '").append(meant).append("'");
  }
  if (!near.empty()) text += "?";
  text += " (known: ";
  for (const std::string_view known : listed) text.append(known == listed.front() ? "" : ", ").append(known);
  return text + ")";
}

CpuidTable leaves_of(const Description& d) {
  constexpr CpuidRegs intel{0x20, 0x756e6547, 0x6c65746e, 0x49656e69};
  constexpr u32 epc_section = 1, last_extended = 0x8000'0008, all = ~u32{0};
  CpuidTable leaves;
  leaves.set(leaf::basic_max, 0, intel);
  leaves.learn(leaf::version, 0, {d.signature, 0, d.leaf1_ecx, d.leaf1_edx}, {all, 0, all & ~osxsave, all});
  leaves.set(leaf::features, 0, {0, d.leaf7_ebx, d.leaf7_ecx, d.leaf7_edx});
  leaves.learn(leaf::xsave, 1, {d.xsave_eax, 0, 0, 0}, {all, 0, 0, 0});
  leaves.set(leaf::sgx, 0, d.capabilities);
  leaves.set(leaf::sgx, 1, d.attributes);
  leaves.set(leaf::sgx, 2, {epc_section, 0, d.epc_property, 0});
  leaves.set(leaf::extended_max, 0, {last_extended, 0, 0, 0});
  leaves.learn(leaf::extended_features, 0, {0, 0, d.extended_ecx, d.extended_edx}, {0, 0, all, all});
  char brand[48]{};
  std::memcpy(brand, d.brand.data(), std::min(d.brand.size(), sizeof brand));
  for (u32 i = 0; i < 3; ++i) {
    CpuidRegs part;
    std::memcpy(&part, brand + 16 * i, sizeof part);
    leaves.set(leaf::extended_features + 1 + i, 0, part);
  }
  return leaves;
}

std::string brand_of(const CpuidTable& leaves) {
  std::string brand;
  for (u32 i = 0; i < 3; ++i) {
    const CpuidRegs part = leaves.look(leaf::extended_features + 1 + i, 0).regs;
    char text[sizeof part];
    std::memcpy(text, &part, sizeof part);
    brand.append(text, sizeof text);
  }
  brand.resize(std::min(brand.find('\0'), brand.size()));
  const std::size_t first = std::min(brand.find_first_not_of(' '), brand.size());
  return brand.substr(first, brand.find_last_not_of(' ') + 1 - first);
}

SgxState sgx_state(const CpuidTable& leaves) {
  const auto shown = [&](u32 leaf, u32 subleaf) { return leaves.leaves().contains({leaf, subleaf}); };
  if (!shown(leaf::features, 0)) {
    return leaves.get(leaf::basic_max, 0).eax < leaf::features ? SgxState::absent : SgxState::unknown;
  }
  if (!has(leaves, *find_feature("sgx"))) return SgxState::absent;
  if (!shown(leaf::sgx, 0)) return SgxState::unknown;
  if (!has(leaves, *find_feature("sgx1"))) return SgxState::switched_off;
  return shown(leaf::sgx, 1) ? SgxState::offered : SgxState::unknown;
}

Masking compare(const CpuidTable& described, const CpuidTable& implemented) {
  return {beyond(described, implemented), beyond(implemented, described)};
}

}  // namespace cloister::policy
