// The dependence rules as data, and their closure.
#include "policy/dependence.hpp"

#include <iterator>
#include <vector>

#include "policy/feature_rows.hpp"

namespace cloister::policy {

namespace {

// Ground first: a feature's own rule comes before the rules of what needs it.
constexpr Dependence own_rules[] = {
    {"fxsr", "fpu"},
    {"mmx", "fpu"},
    {"sse", "fxsr"},
    {"sse2", "sse"},
    {"sse3", "sse2"},
    {"ssse3", "sse3"},
    {"sse4.1", "ssse3"},
    {"sse4.2", "sse4.1"},
    {"aes", "sse2"},
    {"pclmulqdq", "sse2"},
    {"sha", "sse2"},
    {"gfni", "sse2"},
    {"xsave", "fxsr"},
    {"xsaveopt", "xsave"},
    {"xsavec", "xsave"},
    {"xgetbv1", "xsave"},
    {"xsaves", "xsavec"},
    {"mpx", "xsave"},
    {"avx", "xsave"},
    {"avx", "sse2"},
    {"f16c", "avx"},
    {"fma", "avx"},
    {"avx2", "avx"},
    {"vaes", "avx"},
    {"vpclmulqdq", "avx"},
    {"avx-vnni", "avx2"},
    {"avx-ifma", "avx2"},
    {"avx-vnni-int8", "avx2"},
    {"avx-ne-convert", "avx2"},
    {"avx512f", "avx2"},
    {"avx512-bf16", "avx512f"},
    {"xop", "avx"},
    {"fma4", "avx"},
    {"x2apic", "apic"},
    {"tsc-deadline", "apic"},
    {"arat", "apic"},
    {"tsc-deadline", "tsc"},
    {"rdtscp", "tsc"},
    {"tsc_adjust", "tsc"},
    {"invtsc", "tsc"},
    {"lm", "pae"},
    {"nx", "pae"},
    {"syscall", "lm"},
    {"cx16", "lm"},
    {"lahf-lm", "lm"},
    {"pdpe1gb", "lm"},
    {"fsgsbase", "lm"},
    {"pcid", "lm"},
    {"invpcid", "pcid"},
    {"pku", "lm"},
    {"pku", "xsave"},
    {"la57", "lm"},
    {"sgx", "lm"},
    {"sgxlc", "sgx"},
    {"sgx-keys", "sgx"},
    {"sgx1", "sgx"},
};

/// And what else leaf 12H enumerates means nothing without SGX1 (SDM vol. 3D, 36.7.2).
std::vector<Dependence> all_rules() {
  std::vector<Dependence> rules(std::begin(own_rules), std::end(own_rules));
  for (const FeatureRow& row : feature_rows()) {
    if (row.leaf == arch::leaf::sgx && row.name != "sgx1") rules.push_back({row.name, "sgx1"});
  }
  return rules;
}

}  // namespace

std::span<const Dependence> dependences() {
  static const std::vector<Dependence> rules = all_rules();
  return rules;
}

void put(CpuidTable& table, const CpuidBit& bit, bool on) {
  table.set(bit.leaf, bit.subleaf, table.get(bit.leaf, bit.subleaf));
  table.learn(bit, on);
}

void clear_dependents(CpuidTable& table) {
  for (bool changed = true; changed;) {
    changed = false;
    for (const Dependence& rule : dependences()) {
      const Feature& feature = *find_feature(rule.feature);
      if (has(table, feature) && !has(table, *find_feature(rule.needs))) {
        put(table, feature, false);
        changed = true;
      }
    }
  }
}

std::optional<std::string_view> missing_ground(const CpuidTable& table, const CpuidBit& bit) {
  for (const Dependence& rule : dependences()) {
    if (*find_feature(rule.feature) != bit) continue;
    const Feature& ground = *find_feature(rule.needs);
    // The deepest one is the cause.
    if (const auto deeper = missing_ground(table, ground)) return deeper;
    if (!has(table, ground)) return rule.needs;
  }
  return std::nullopt;
}

}  // namespace cloister::policy
