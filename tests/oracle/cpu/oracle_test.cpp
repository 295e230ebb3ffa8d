// The host's CPU as the oracle for the software processor: every form that the dispatcher knows, by family.
//
// CLOISTER_ORACLE_CASES sets the number of cases of a form, CLOISTER_ORACLE_SEED the seed, CLOISTER_ORACLE_FORM a
// pattern of the forms to run. CLOISTER_ORACLE_VENDOR=other: an Intel host is taken for another maker's, whose
// peculiarities are passed over.
#include "oracle/cpu/oracle.hpp"

#include <fmt/format.h>
#include <fnmatch.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>

#include "engine_under_test.hpp"
#include "oracle/cpu/exemptions.hpp"
#include "silicon/decode/instruction_set.hpp"

namespace cloister::oracle {
namespace {

/// Of a form. The checked engine runs the same handlers, and is held against them: a part is enough.
unsigned default_cases() { return engine_under_test() == silicon::EngineKind::interpreter ? 2000 : 200; }
constexpr u64 unsteady_one_in = 1000;  // cases that a host may disturb
constexpr u64 default_seed = 0x5eed'c105'7e12'0001;

u64 setting(const char* name, u64 otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

struct Group {
  Family family;
  bool bits64;
};

void PrintTo(const Group& group, std::ostream* out) { *out << group.family.name << (group.bits64 ? " 64" : " 32"); }

class OracleTest : public testing::TestWithParam<Group> {};

/// Counts of a group, and one line a form for the list in the build folder.
struct Tally {
  unsigned run = 0, exempt = 0, skipped = 0, failed = 0;
  u64 cases = 0, unsteady = 0, by_vendor = 0;
  std::array<unsigned, 2> faulted_first{};  ///< by Operand
  std::string list;
};

void run_form(Oracle& oracle, const Form& form, unsigned cases, Tally& tally) {
  const Exemption* const e = exemption_of(form.key);
  if (e != nullptr) ++tally.exempt;
  if (e != nullptr && !e->fault) {
    tally.list += fmt::format("exempt   {:<40} {}; tested by {}\n", form.key, e->reason, e->test);
    return;
  }
  if (const auto why = oracle.host().lacks(form)) {
    ++tally.skipped;
    tally.list += fmt::format("skipped  {:<40} {}\n", form.key, *why);
    return;
  }
  const FormResult result = oracle.run(form, cases);
  if (e == nullptr) ++tally.run;
  tally.cases += result.cases;
  tally.unsteady += result.unsteady;
  tally.by_vendor += result.by_vendor;
  for (unsigned n : {0u, 1u}) tally.faulted_first[n] += result.faulted_first[n];
  tally.list += fmt::format("{:<8} {:<40} {} cases, {} without a fault", result.mismatches == 0 ? "agrees" : "DIFFERS",
                            form.key, result.cases, result.completed);
  tally.list += e != nullptr ? fmt::format(": {}; tested by {}\n", e->reason, e->test) : "\n";
  const bool vacuous = result.completed == 0 && e == nullptr && !always_faults(form.key);
  if (result.mismatches != 0 || vacuous || result.cases < cases) ++tally.failed;
  EXPECT_EQ(result.mismatches, 0u) << "  " << form.key << "\n" << result.report;
  if (result.mismatches == 0) {
    EXPECT_GE(result.cases, cases) << form.key << ": no encodings to run";
    EXPECT_FALSE(vacuous) << form.key << ": no case ended without a fault";
  }
}

TEST_P(OracleTest, AgreesWithTheHost) {
  const auto& [family, bits64] = GetParam();
  const u64 seed = setting("CLOISTER_ORACLE_SEED", default_seed);
  Oracle oracle(seed);
  if (const auto& why = oracle.host().lacks_code32(); !bits64 && why) GTEST_SKIP() << *why;
  std::set<ZydisMnemonic> mnemonics;
  for (const silicon::Row& row : family.rows()) mnemonics.insert(row.mnemonic);
  const auto forms = enumerate_forms(bits64, [&](ZydisMnemonic m) { return mnemonics.count(m) != 0; });

  const auto cases = static_cast<unsigned>(setting("CLOISTER_ORACLE_CASES", default_cases()));
  const char* const pattern = std::getenv("CLOISTER_ORACLE_FORM");
  Tally tally;
  for (const auto& [key, form] : forms) {
    if (pattern != nullptr && fnmatch(pattern, key.c_str(), 0) != 0) continue;
    run_form(oracle, form, cases, tally);
  }
  std::string summary = fmt::format(
      "{} ({}-bit): {} forms: {} run with {} cases, {} exempt, {} skipped on this host, {} failed; seed {:#x}",
      family.name, bits64 ? 64 : 32, forms.size(), tally.run, tally.cases, tally.exempt, tally.skipped, tally.failed,
      seed);
  for (const Operand first : {Operand::source, Operand::destination}) {
    const unsigned n = tally.faulted_first[static_cast<unsigned>(first)];
    if (n != 0) {
      summary += fmt::format("\n  host: CMPS of two operands that fault reports the {}'s: {} cases, ours the other's",
                             first == Operand::source ? "source" : "destination", n);
    }
  }
  if (tally.by_vendor != 0) {
    summary += fmt::format("\n  host: {} cases ended as processors of another maker than Intel do", tally.by_vendor);
  }
  if (tally.unsteady != 0) summary += fmt::format("\n  host: {} cases differed once, and not again", tally.unsteady);
  EXPECT_LE(tally.unsteady, 3 + tally.cases / unsteady_one_in) << "the host ends the same case in different ways";
  summary += "\n" + oracle.host().peculiarities();
  fmt::print("{}", summary);
  std::ofstream(fmt::format("{}/oracle-{}-{}.txt", CLOISTER_BINARY_DIR, family.name, bits64 ? 64 : 32))
      << summary << tally.list;
}

/// A mnemonic that has a row and yet no encoding in either mode would be neither run nor exempt.
TEST(OracleCoverage, EveryRowHasAForm) {
  std::set<ZydisMnemonic> missing;
  for (const Family& family : families())
    for (const silicon::Row& row : family.rows()) missing.insert(row.mnemonic);
  ASSERT_FALSE(missing.empty());
  for (const bool bits64 : {true, false}) {
    const auto forms = enumerate_forms(bits64, [&](ZydisMnemonic m) { return missing.count(m) != 0; });
    for (const auto& [key, form] : forms) missing.erase(form.mnemonic);
  }
  for (const ZydisMnemonic m : missing) ADD_FAILURE() << ZydisMnemonicGetString(m) << " has a row but no form";
}

/// Every form that the dispatcher knows belongs to a family, so that it is run.
TEST(OracleCoverage, EveryFormHasAFamily) {
  std::set<ZydisMnemonic> covered;
  for (const Family& family : families())
    for (const silicon::Row& row : family.rows()) covered.insert(row.mnemonic);
  for (const bool bits64 : {true, false}) {
    for (const auto& [key, form] : enumerate_forms(bits64, [&](ZydisMnemonic m) { return covered.count(m) == 0; }))
      ADD_FAILURE() << key << " is in no family";
  }
}

/// What hosts may lack is asked for by a probe. Bits of every x86-64 processor (leaf 1, EDX) need none, nor do forms of
/// which a process sees the same fault either way.
TEST(OracleCoverage, EveryFeatureHasAProbe) {
  std::set<std::string> missing;
  for (const bool bits64 : {true, false}) {
    for (const auto& [key, form] : enumerate_forms(bits64, [](ZydisMnemonic) { return true; })) {
      const auto bits = silicon::offered_by(form.set, form.mnemonic);
      ASSERT_TRUE(bits) << key << " is of no known set: " << ZydisISASetGetString(form.set);
      const Exemption* const e = exemption_of(key);
      for (const arch::CpuidBit& bit : *bits) {
        const bool everywhere = bit.leaf == 1 && bit.reg == arch::CpuidReg::edx;
        if (e == nullptr && !everywhere && !Host::can_try(bit)) missing.insert(key);
      }
    }
  }
  for (const std::string& key : missing) ADD_FAILURE() << key << " needs a CPUID bit that no probe is for";
}

/// The host runs UD2's #UD and NOP's end, whatever else it is: the probes can tell.
TEST(OracleHost, SaysWhatItExecutes) {
  Oracle oracle(default_seed);
  fmt::print("{}", oracle.host().peculiarities());
  Form ud2{"ud2", ZYDIS_MNEMONIC_UD2, ZYDIS_ISA_EXT_BASE, ZYDIS_ISA_SET_PPRO, {}};
  EXPECT_FALSE(oracle.host().lacks(ud2));
  Form seamcall{"seamcall", ZYDIS_MNEMONIC_SEAMCALL, ZYDIS_ISA_EXT_TDX, ZYDIS_ISA_SET_TDX, {}};
  EXPECT_TRUE(oracle.host().lacks(seamcall));
}

std::vector<Group> groups() {
  std::vector<Group> all;
  for (const Family& family : families()) {
    all.push_back({family, true});
    all.push_back({family, false});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Families, OracleTest, testing::ValuesIn(groups()), [](const auto& group) {
  return fmt::format("{}_{}", group.param.family.name, group.param.bits64 ? 64 : 32);
});

}  // namespace
}  // namespace cloister::oracle
