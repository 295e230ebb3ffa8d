// nova.conf as oslo.config reads it (oslo_config/iniparser.py, types.List), and the CPU that nova/conf/libvirt.py takes
// from it.
#include "interop/vm/nova_conf.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/flags.hpp"

namespace cloister::toolstack::vm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

NovaCpu good(std::string_view text) {
  const auto read = read_nova_conf(text);
  EXPECT_TRUE(read.has_value()) << text << (read ? "" : format("", read.error()));
  return read.value_or(NovaCpu{});
}

std::vector<std::string> names(const std::vector<NovaFlag>& flags) {
  std::vector<std::string> result;
  for (const NovaFlag& flag : flags) result.push_back(flag.name);
  return result;
}

std::vector<std::string> texts(const std::vector<Word>& words) {
  std::vector<std::string> result;
  for (const Word& word : words) result.push_back(word.text);
  return result;
}

std::string refused(std::string_view text) {
  const auto read = read_nova_conf(text);
  EXPECT_FALSE(read.has_value()) << text;
  return read ? "" : format("nova.conf", read.error());
}

// The three lines of the document.
constexpr std::string_view document =
    "[libvirt]\n"
    "cpu_mode = custom\n"
    "cpu_model = Skylake-Client-IBRS\n"
    "cpu_model_extra_flags = sgx,sgxlc,sgx1,sgx-provisionkey,sgx-tokenkey,sgx-debug,sgx-mode64\n";

TEST(NovaConf, HasTheDocumentsModelAndFlagsWithTheirPlaces) {
  const NovaCpu cpu = good(document);
  EXPECT_EQ(cpu.mode, (Word{"custom", {2, 12}}));
  EXPECT_THAT(cpu.models, ElementsAre(Word{"Skylake-Client-IBRS", {3, 13}}));
  EXPECT_EQ(cpu.old_models, (Position{3, 1}));
  EXPECT_THAT(names(cpu.flags),
              ElementsAre("sgx", "sgxlc", "sgx1", "sgx-provisionkey", "sgx-tokenkey", "sgx-debug", "sgx-mode64"));
  EXPECT_EQ(cpu.flags[1].at, (Position{4, 29}));
  EXPECT_EQ(cpu.flags_begin, (Position{4, 1}));
}

TEST(NovaConf, OnlyTheLibvirtSectionCountsInAnyCase) {
  EXPECT_EQ(good("[DEFAULT]\ncpu_mode = custom\n").mode, std::nullopt);
  EXPECT_EQ(good("[LibVirt]\ncpu_mode = none\n[compute]\ncpu_mode = custom\n").mode, (Word{"none", {2, 12}}));
}

TEST(NovaConf, ALaterValueReplacesAnEarlierOneAlsoInALaterSectionOfTheName) {
  const NovaCpu cpu = good("[libvirt]\ncpu_mode = custom\ncpu_mode: none\n[api]\n[libvirt]\ncpu_mode=host-model\n");
  EXPECT_EQ(cpu.mode, (Word{"host-model", {6, 10}}));
}

TEST(NovaConf, TheNewNameOfTheModelsWinsWhereverItStands) {
  const NovaCpu cpu = good("[libvirt]\ncpu_models = Haswell, Broadwell\ncpu_model = Skylake-Client\n");
  EXPECT_THAT(texts(cpu.models), ElementsAre("Haswell", "Broadwell"));
  EXPECT_EQ(cpu.old_models, (Position{3, 1}));
}

TEST(NovaConf, ValuesGoOnInLinesThatBeginWithABlank) {
  const NovaCpu cpu = good("[libvirt]\ncpu_model_extra_flags =\n  sgx,\n\tsgxlc ,, -hle,\n# end\nimages_type = raw\n");
  EXPECT_THAT(cpu.flags, ElementsAre(NovaFlag{"sgx", true, {3, 3}}, NovaFlag{"sgxlc", true, {4, 2}},
                                     NovaFlag{"hle", false, {4, 11}}));
}

TEST(NovaConf, TheEndOfALineIsNoComma) {
  EXPECT_THAT(names(good("[libvirt]\ncpu_model_extra_flags = sgx\n  sgxlc,aes\n").flags),
              ElementsAre("sgx\nsgxlc", "aes"));
}

TEST(NovaConf, CommentsAndQuotesAreNotPartOfValues) {
  const NovaCpu cpu = good("# [libvirt]\n[libvirt]\r\n; cpu_mode = none\r\ncpu_mode = \"custom\"\r\n");
  EXPECT_EQ(cpu.mode, (Word{"custom", {4, 13}}));
}

TEST(NovaConf, AnErrorSaysWhereAndWhatWasExpected) {
  EXPECT_EQ(refused("[libvirt]\ncpu_mode\n"), "nova.conf:2:1: found 'cpu_mode', expected KEY = VALUE");
  EXPECT_EQ(refused("cpu_mode = none\n"), "nova.conf:1:1: found 'cpu_mode' before the first [SECTION]");
  EXPECT_EQ(refused("[libvirt\n"), "nova.conf:1:1: found '[libvirt', expected [SECTION]");
  EXPECT_EQ(refused("[libvirt]\n = 1\n"),
            "nova.conf:2:2: found a line that begins with a blank, and no setting before "
            "it to go on with");
  EXPECT_EQ(refused("[libvirt]\n=\x1b[2J\n"), "nova.conf:2:1: found '=?[2J', expected KEY = VALUE");
}

TEST(NovaConf, ACpuHasTheFlagsByOurNamesTheLastWordCounting) {
  const Cpu cpu =
      cpu_of(good("[libvirt]\ncpu_mode = host-passthrough\ncpu_model_extra_flags = SGX,-SGXLC,+sgxlc,-hle"));
  EXPECT_EQ(cpu.mode, CpuMode::host_passthrough);
  EXPECT_THAT(cpu.features, ElementsAre(CpuFeature{"sgx", FeaturePolicy::require, {}},
                                        CpuFeature{"sgxlc", FeaturePolicy::require, {}},
                                        CpuFeature{"hle", FeaturePolicy::disable, {}}));
}

TEST(NovaConf, WithoutAModeNovaTakesTheHostsModelAndWithNoneNoFlags) {
  EXPECT_EQ(cpu_of(good("[libvirt]\n")).mode, CpuMode::host_model);
  const Cpu none = cpu_of(good("[libvirt]\ncpu_mode = none\ncpu_model_extra_flags = sgx\n"));
  EXPECT_EQ(none.mode, CpuMode::unspecified);
  EXPECT_THAT(none.features, IsEmpty());
}

TEST(NovaConf, AnyBytesAreReadOrRefusedInsideTheText) {
  for (std::size_t at = 0; at < document.size(); ++at) {
    for (const char c : std::string_view("\0\n\t[]=,\"'#\xff", 11)) {
      std::string text(document);
      text[at] = c;
      const auto read = read_nova_conf(text);
      if (!read) {
        EXPECT_LE(read.error().at.line, 6u) << text;
        EXPECT_EQ(read.error().message.find('\n'), std::string::npos) << text;
      }
    }
  }
}

}  // namespace
}  // namespace cloister::toolstack::vm
