// `cloister run` as a person runs it: exit statuses, and what goes to which stream (docs/configuration.md).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "arch/types.hpp"
#include "unit/toolstack/host_files.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class Cli : public testing::Test {
 protected:
  Cli() { write("kernel", "not a kernel"); }

  std::string path(const std::string& name) const { return folder_.path(name); }
  std::string write(const std::string& name, const std::string& text) const { return folder_.write(name, text); }

  /// A configuration whose kernel exists.
  std::string config(const std::string& more = "") const {
    return write("d.cfg", "name = 'd'\nkernel = '" + path("kernel") + "'\n" + more);
  }

  tests::Ran cloister(const std::vector<std::string>& arguments, const std::string& out = {}) const {
    return tests::run_cloister(arguments, out);
  }

 private:
  tests::Folder folder_;
};

TEST_F(Cli, HelpIsNoError) {
  const tests::Ran help = cloister({"run", "--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* option : {"--dryrun", "--json", "--timeout", "--gdb", "--trace", "--trace-file", "--deterministic",
                             "--engine", "--save", "--restore"}) {
    EXPECT_THAT(help.out, HasSubstr(option));
  }
}

TEST_F(Cli, FilesThatCannotFitAreRefusedByTheirLength) {
  std::filesystem::resize_file(write("long", ""), u64{6} << 30);
  const auto refused = cloister({"run", config("memory = 16\nramdisk = '" + path("long") + "'\n")});
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("cannot use ramdisk"), HasSubstr("which is longer than 16 MiB")));
  const auto kernel = cloister({"run", write("k.cfg", "name = 'd'\nkernel = '" + path("long") + "'\n")});
  EXPECT_THAT(kernel.err, AllOf(HasSubstr("cannot use kernel"), HasSubstr("which is longer than 1024 MiB")));
}

TEST_F(Cli, ImagesAreRegularFiles) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  for (const std::string& odd : {path(""), path("fifo"), std::string("/dev/zero")}) {
    const tests::Ran kernel = cloister({"run", write("k.cfg", "name = 'd'\nkernel = '" + odd + "'\n")});
    EXPECT_EQ(kernel.status, 2);
    EXPECT_EQ(kernel.err, path("k.cfg") + ":2:10: cannot use kernel '" + odd + "': not a regular file\n");
    const tests::Ran ramdisk = cloister({"run", config("ramdisk = '" + odd + "'\n")});
    EXPECT_EQ(ramdisk.err, path("d.cfg") + ":3:11: cannot use ramdisk '" + odd + "': not a regular file\n");
  }
  EXPECT_EQ(cloister({"run", "/dev/zero"}).err, "/dev/zero: cannot read: found more than 1 MiB\n");
}

TEST_F(Cli, AListOfTraceKindsIsOneWord) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"run", "--trace=exits,io", config(), "-n"},
                                                    {"run", "--trace", "exits", config(), "-n"},
                                                    {"run", "--trace=exits", "--trace=io", config(), "-n"}}) {
    const tests::Ran result = cloister(arguments);
    EXPECT_EQ(result.status, 0) << testing::PrintToString(arguments) << result.err;
    EXPECT_THAT(result.out, HasSubstr("memory map"));
  }
}

TEST_F(Cli, AnswersThatAreLostAreStatus1) {
  const std::string host = write("host.xml", tests::domain_capabilities);
  const std::string xml = write("d.xml", "<domain type='kvm'></domain>");
  const std::vector<std::vector<std::string>> commands = {{"--version"},
                                                          {"--help"},
                                                          {"run", "-n", config()},
                                                          {"cpu", "probe", host},
                                                          {"cpu", "explain", "sgx"},
                                                          {"cpu", "explain", "--json", "sgx"},
                                                          {"cpu", "explain", "0x7.0.edx[0]"},
                                                          {"cpu", "check", host, "sgx"},
                                                          {"cpu", "baseline", host},
                                                          {"cpu", "lint", xml},
                                                          {"cpu", "render", "--for", "cloister", config()}};
  for (const std::vector<std::string>& command : commands) {
    EXPECT_THAT(cloister(command).status, testing::AnyOf(0, 3)) << testing::PrintToString(command);
    EXPECT_EQ(cloister(command, "/dev/full").status, 1) << testing::PrintToString(command);
  }
}

TEST_F(Cli, WhatIsNoTextIsNotLinted) {
  const std::string expected = "expected QEMU's command line\n";
  const tests::Ran kernel = cloister({"cpu", "lint", write("vmlinuz", std::string("MZ\xea\x07\0-cpu", 9))});
  EXPECT_EQ(kernel.status, 2);
  EXPECT_EQ(kernel.err, path("vmlinuz") + ":1:4: found byte 0x07, " + expected);
  const tests::Ran policy = cloister({"cpu", "check", "host", path("vmlinuz")});
  EXPECT_EQ(policy.status, 2);
  EXPECT_EQ(policy.err, path("vmlinuz") + ":1:4: found byte 0x07, " + expected);
  const tests::Ran xml = cloister({"cpu", "lint", write("x", std::string("<domain>\n\0</domain>", 19))});
  EXPECT_EQ(xml.err, path("x") + ":2:1: found byte 0x00, expected libvirt's domain XML\n");
  const tests::Ran large = cloister({"cpu", "lint", write("l", std::string((1 << 20) + 1, 'a'))});
  EXPECT_EQ(large.err, path("l") + ": cannot read: found 1048577 bytes, which is longer than 1 MiB\n");
}

TEST_F(Cli, NamesAreShownAsTextAlone) {
  EXPECT_EQ(cloister({"cpu", "explain", "x\xff\x9b"}).err, "unknown CPU flag 'x\\xff\\x9b'\n");
}

TEST_F(Cli, NoTerminalObeysTheNameOfAFile) {
  const std::string name = "a\x1b[31m\nb", file = write(name, "name = \"x"),
                    at = file.substr(0, file.size() - name.size());
  for (const std::vector<std::string>& verb :
       {std::vector<std::string>{"run"}, {"cpu", "probe"}, {"cpu", "lint"}, {"cpu", "render", "--for", "qemu"}}) {
    for (const std::string& what : {file, file + "absent"}) {
      std::vector<std::string> words = verb;
      words.push_back(what);
      const tests::Ran ran = cloister(words);
      EXPECT_THAT(ran.err, AllOf(HasSubstr(at + "a?[31m"), Not(HasSubstr("\x1b")))) << verb.back();
    }
  }
}

// Text of any kind, by any verb: by its length, and where that says nothing, as soon as it is too much.
TEST_F(Cli, TextThatIsTooLongIsRefusedByEveryVerb) {
  const std::string good = config(), nova = write("nova.conf", "[libvirt]\ncpu_mode = custom\n");
  struct Reader {
    std::vector<std::string> before, after;
    std::string most;
  };
  const std::vector<Reader> readers = {
      {{"run"}, {}, "1 MiB"},
      {{"create"}, {}, "1 MiB"},
      {{"run", "--dryrun", "--machine"}, {good}, "16 MiB"},
      {{"cpu", "probe"}, {}, "16 MiB"},
      {{"cpu", "lint"}, {}, "1 MiB"},
      {{"cpu", "lint", "--host"}, {nova}, "16 MiB"},
      {{"cpu", "render", "--for", "qemu"}, {}, "16 MiB"},
      {{"cpu", "check", "host"}, {}, "16 MiB"},
      {{"cpu", "check"}, {"sgx"}, "16 MiB"},
      {{"cpu", "map", "--libvirt"}, {}, "16 MiB"},
      {{"cpu", "baseline"}, {}, "16 MiB"},
  };
  const std::string sparse = write("sparse", "");
  std::filesystem::resize_file(sparse, u64{6} << 30);
  for (const Reader& reader : readers) {
    const auto refusal = [&](const std::string& file) {
      std::vector<std::string> words = reader.before;
      words.push_back(file);
      words.insert(words.end(), reader.after.begin(), reader.after.end());
      return cloister(words);
    };
    const tests::Ran by_length = refusal(sparse), read = refusal("/dev/zero");
    EXPECT_EQ(by_length.status, 2) << reader.before.back();
    EXPECT_THAT(by_length.err, AllOf(HasSubstr(sparse + ": cannot read: found 6442450944 bytes"),
                                     HasSubstr("longer than " + reader.most + "\n")));
    EXPECT_EQ(read.status, 2) << reader.before.back();
    EXPECT_THAT(read.err, HasSubstr("/dev/zero: cannot read: found ")) << reader.before.back();
  }
}

TEST_F(Cli, SaysItsVersion) {
  const tests::Ran version = cloister({"--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_THAT(version.out, testing::MatchesRegex("cloister [0-9]+[.][0-9]+[.][0-9]+\n"));
}

TEST_F(Cli, SecondsAreFiniteNumbersInTheirRange) {
  for (const std::string option : {"--timeout", "--delay"}) {
    for (const std::string value :
         {"nan", "-nan", "NAN(1)", "inf", "-inf", "-1", "0", "1e300", "1e999", "1e-300", "0x10", "1s", "soon"}) {
      const bool run = option == "--timeout";
      const tests::Ran result =
          run ? cloister({"run", option + "=" + value, config()}) : cloister({"top", option + "=" + value});
      EXPECT_EQ(result.status, 2) << option << value;
      EXPECT_THAT(result.err,
                  AllOf(HasSubstr(option), HasSubstr("'" + value + "': expected a number of seconds from ")))
          << value;
    }
  }
}

TEST_F(Cli, WrongUsageIsStatus2WithAMessageOnStandardError) {
  const std::vector<std::string> cases[] = {{},
                                            {"frobnicate"},
                                            {"run"},
                                            {"run", "--json", config()},
                                            {"run", "--timeout", "-1", config()},
                                            {"run", "--timeout", "soon", config()},
                                            {"run", "--trace=everything", config()},
                                            {"run", "--trace-file", "x", config()},
                                            {"run", config(), config()}};
  for (const auto& arguments : cases) {
    const tests::Ran result = cloister(arguments);
    EXPECT_EQ(result.status, 2) << testing::PrintToString(arguments);
    EXPECT_FALSE(result.err.empty()) << testing::PrintToString(arguments);
    EXPECT_THAT(result.out, IsEmpty()) << testing::PrintToString(arguments);
  }
}

TEST_F(Cli, WrongConfigurationIsOneLineWithItsPlaceAndStatus2) {
  const std::string file = config("memory = 'lots'\n");
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"run", file}, {"run", "-n", file}}) {
    const tests::Ran result = cloister(arguments);
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.err, StartsWith(file + ":3:10: 'memory': found \"lots\", expected a number"));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1);
    EXPECT_THAT(result.out, IsEmpty());
  }
}

TEST_F(Cli, FileThatIsMissingIsStatus2) {
  const tests::Ran result = cloister({"run", path("none.cfg")});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.err, path("none.cfg") + ": cannot read: No such file or directory\n");
}

TEST_F(Cli, KernelThatIsMissingIsNamedAtItsKey) {
  const std::string file = write("d.cfg", "name = 'd'\nkernel = 'no/such'\n");
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"run", file}, {"run", "-n", file}}) {
    const tests::Ran result = cloister(arguments);
    EXPECT_EQ(result.status, 2);
    EXPECT_EQ(result.err, file + ":2:10: cannot use kernel 'no/such': No such file or directory\n");
  }
}

TEST_F(Cli, RamdiskThatIsMissingIsNamedAtItsKey) {
  const std::string file = config("ramdisk = 'no/such'\n");
  const tests::Ran result = cloister({"run", "-n", file});
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.err, file + ":3:11: cannot use ramdisk 'no/such': No such file or directory\n");
}

TEST_F(Cli, KernelThatIsNoneIsRefusedAtItsKey) {
  const std::string file = config();
  const tests::Ran result = cloister({"run", file});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, StartsWith(file + ":2:10: cannot use kernel '" + path("kernel") + "': "));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1);
}

TEST_F(Cli, FeatureThatTheProcessorDoesNotHaveIsNamed) {
  const std::string file = config("cpuid = 'host,avx512f=1'\n");
  const tests::Ran result = cloister({"run", "-n", file});
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.err, AllOf(StartsWith(file + ":3:9: "), HasSubstr("'avx512f'"), HasSubstr("does not have it")));
}

TEST_F(Cli, UnknownKeyIsAWarningAndTheRunGoesOn) {
  const std::string file = config("memroy = 512\n");
  const tests::Ran result = cloister({"run", "-n", file});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, file + ":3:1: warning: unknown key 'memroy' is ignored, did you mean 'memory'?\n");
  EXPECT_THAT(result.out, HasSubstr("memory map"));
}

TEST_F(Cli, DryRunRefusesWhatRunDoes) {
  const tests::Ran absent = cloister({"run", "-n", config("cpus = '8000'\n")});
  EXPECT_EQ(absent.status, 2);
  EXPECT_THAT(absent.err, HasSubstr("the host has no processor 8000"));
}

TEST_F(Cli, DryRunShowsTheEpcThatTheFileAsksFor) {
  const std::string file = config("epc = 64\nlewr = 0\n");
  const tests::Ran text = cloister({"run", "--dryrun", file});
  EXPECT_EQ(text.status, 0);
  EXPECT_THAT(text.err, IsEmpty());
  EXPECT_THAT(text.out, AllOf(HasSubstr("64 MiB"), HasSubstr("sgxlc"), HasSubstr("(EPC)")));

  const tests::Ran json = cloister({"run", "-n", "--json", file});
  EXPECT_EQ(json.status, 0);
  const auto domain = nlohmann::json::parse(json.out);
  ASSERT_EQ(domain["epc"].size(), 1u);
  EXPECT_EQ(domain["epc"][0]["bytes"], 64 << 20);
  EXPECT_EQ(domain["msrs"][0]["value"], "0x40001") << "launch control is not enabled: the hash is read only";
}

TEST_F(Cli, EngineIsTheOptionsElseTheFiles) {
  const std::string file = config("engine = 'interpreter'\n");
  const auto engine_of = [](const tests::Ran& ran) { return nlohmann::json::parse(ran.out).value("engine", ""); };
  EXPECT_EQ(engine_of(cloister({"run", "-n", "--json", file})), "interpreter");
  EXPECT_EQ(engine_of(cloister({"run", "-n", "--json", "--engine=interpreter", config()})), "interpreter");
  const std::string chosen = engine_of(cloister({"run", "-n", "--json", "--engine", "auto", config()}));
  EXPECT_THAT(chosen, testing::AnyOf("interpreter", "compiler"));
  const tests::Ran asked = cloister({"run", "-n", "--engine=compiler", file});
  EXPECT_EQ(asked.status, chosen == "compiler" ? 0 : 2);
  if (asked.status != 0) {
    EXPECT_THAT(asked.err, StartsWith(file + ": 'engine': found \"compiler\""));
  }
  const tests::Ran unknown = cloister({"run", "-n", "--engine=checked", file});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err + unknown.out, HasSubstr("--engine: checked not in {auto,interpreter,compiler}"));
}

TEST_F(Cli, DryRunWithoutEpcHasNoSgx) {
  const auto domain = nlohmann::json::parse(cloister({"run", "-n", "--json", config()}).out);
  EXPECT_TRUE(domain["epc"].empty());
  EXPECT_EQ(domain["msrs"][0]["value"], "0x1");
  for (const auto& leaf : domain["cpuid"]) {
    if (leaf["leaf"] == "0x7") {
      EXPECT_THAT(leaf["names"].dump(), testing::Not(HasSubstr("sgx")));
    }
    if (leaf["leaf"] == "0x12") {
      EXPECT_EQ(leaf["eax"], "0x0");
    }
  }
}

TEST_F(Cli, SiliconIsTheMachinesOrNarrower) {
  const std::string machine = write("m.toml", "silicon = 'skylake-client'\npackage = [{ epc = [{ size = 64 }] }]\n");
  const auto run = [&](const std::string& more) {
    return cloister({"run", "-n", "--json", "--machine", machine, config("epc = 64\n" + more)});
  };
  for (const char* more : {"", "silicon = 'icelake-server'\n"}) {
    const tests::Ran result = run(more);
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err.find("warning: silicon 'icelake-server'") != std::string::npos, *more != 0) << result.err;
    const auto domain = nlohmann::json::parse(result.out);
    EXPECT_EQ(domain["silicon"]["name"], *more != 0 ? "icelake-server" : "skylake-client");
    EXPECT_EQ(domain["msrs"][0]["value"], "0x40001");
    EXPECT_TRUE(domain["msrs"][1]["value"].is_null()) << "no launch control";
    for (const auto& leaf : domain["cpuid"]) {
      if (leaf["leaf"] == "0x12" && leaf["subleaf"] == 0) {
        EXPECT_EQ(leaf["eax"], "0x1") << more;
      }
    }
  }
  const tests::Ran refused = run("cpuid = 'host,sgx2=1'\n");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr(path("d.cfg") + ":4:9: 'cpuid': "));
}

TEST_F(Cli, SectionsAreOfTheMachinesPackages) {
  const std::string sections = "epc = ['size=64,package=1', 'size=32,package=0']\n";
  const tests::Ran alone = cloister({"run", "-n", config(sections)});
  EXPECT_EQ(alone.status, 2);
  EXPECT_EQ(alone.err, path("d.cfg") + ":3:7: 'epc': there is no package 1: the machine has one, package 0\n");

  const std::string machine = write("m.toml", "package = [{ epc = [{ size = 48 }] }, { epc = [{ size = 64 }] }]\n");
  const tests::Ran two = cloister({"run", "-n", "--json", "--machine", machine, config(sections)});
  ASSERT_EQ(two.status, 0) << two.err;
  EXPECT_EQ(two.err, "cloister: EPC: as asked: 32 MiB of package 0, 64 MiB of package 1\n");
  const auto epc = nlohmann::json::parse(two.out).at("epc");
  ASSERT_EQ(epc.size(), 2u);
  EXPECT_EQ(epc[0].at("node"), 1);
  EXPECT_EQ(epc[1].at("node"), 0);

  const tests::Ran large = cloister({"run", "-n", "--machine", machine, config("epc = 65")});
  EXPECT_EQ(large.status, 2);
  EXPECT_EQ(large.err, path("d.cfg") +
                           ":3:7: 'epc': not enough EPC: asked for 65 MiB of any one package: package 0 has 48 "
                           "MiB free of 48 MiB; package 1 has 64 MiB free of 64 MiB\n");

  const tests::Ran wrong = cloister({"run", "-n", "--machine", write("w.toml", "keys = 1"), config()});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, StartsWith(path("w.toml") + ":1:8: 'keys': found 1"));
}

}  // namespace
}  // namespace cloister::toolstack
