// What a machine description means, how a wrong one is refused (docs/machine.md), and the examples in it.
#include "machine/machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "machine/epc/machine_epc.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using toolstack::KeySharing;

constexpr u64 kib = 1 << 10, mib = 1 << 20, gib = 1 << 30;
const std::string hash = "0100000000000000020000000000000003000000000000000000000000000080";

MachineDescription good(const std::string& text) {
  const auto machine = read_machine(text);
  EXPECT_TRUE(machine.has_value()) << text << (machine ? "" : format("", machine.error()));
  return machine.value_or(MachineDescription{});
}

EpcSectionDescription section(u64 base, u64 bytes, u32 node) {
  return {.base = base, .bytes = bytes, .node = node, .faulty = {}};
}

TEST(Machine, TheLeastFileHasTheDefaultsThatTheDocumentationGives) {
  const MachineDescription machine = good("[[package]]\nepc = [{ size = 256 }]\n");
  ASSERT_THAT(machine.packages, SizeIs(1));
  EXPECT_THAT(machine.packages[0].epc, ElementsAre(section(4 * gib, 256 * mib, 0)));
  EXPECT_EQ(machine.keys, KeySharing::shared);
  EXPECT_EQ(machine.silicon, "");
  EXPECT_EQ(machine.launch_control, LaunchControl::unlocked);
  EXPECT_EQ(machine.launch_hash, std::nullopt);
  EXPECT_EQ(machine.sgx_off, "");
  EXPECT_EQ(machine.memory_overcommit, 1);
  EXPECT_EQ(machine.start_at_once, 2u);
  EXPECT_EQ(machine.stop_at_once, 2u);
  EXPECT_EQ(machine.access.console, LeftTo::owner);
  EXPECT_EQ(machine.access.control, LeftTo::owner);
  MachineDescription standard = default_machine();
  standard.origin.clear();
  EXPECT_EQ(standard, machine) << "the same as without a file";
}

TEST(Machine, OvercommitIsAnyNumber) {
  EXPECT_EQ(good("memory_overcommit = 2\n[[package]]\n").memory_overcommit, 2);
  EXPECT_EQ(good("memory_overcommit = 0.75\n[[package]]\n").memory_overcommit, 0.75);
}

TEST(Machine, SaysHowEpcIsShared) {
  EXPECT_EQ(good("[[package]]\n").overcommit, EpcOvercommit{});
  const EpcOvercommit all = good("[overcommit]\nratio = 1.5\nreserve = 8\nchunk = 1024\n[[package]]\n").overcommit;
  EXPECT_EQ(all.ratio, 1.5);
  EXPECT_EQ(all.reserve_mib, 8u);
  EXPECT_EQ(all.chunk_mib, 1024u);
  const EpcOvercommit none = good("overcommit = { ratio = 1 }\n[[package]]\n").overcommit;
  EXPECT_EQ(none, (EpcOvercommit{.ratio = 1}));
}

TEST(Machine, SaysWhatIsKeptForVersions) {
  EXPECT_EQ(good("[[package]]\n").versions_mib, 0u);
  const MachineDescription two = good("[overcommit]\nreserve = 8\n[migration]\nreserve = 2\n[[package]]\n");
  EXPECT_EQ(two.versions_mib, 2u);
  EXPECT_EQ(two.epc_in_reserve_mib(), 10u);
}

TEST(Machine, SaysHowManyDomainsStartAndStopTogether) {
  const MachineDescription one = good("[domains]\nstart_at_once = 1\n[[package]]\n");
  EXPECT_EQ(one.start_at_once, 1u);
  EXPECT_EQ(one.stop_at_once, 2u);
  const MachineDescription most = good("domains = { start_at_once = 64, stop_at_once = 64 }\n[[package]]\n");
  EXPECT_EQ(most.start_at_once, 64u);
  EXPECT_EQ(most.stop_at_once, 64u);
}

TEST(Machine, AccessIsWidenedWordByWord) {
  const AccessPolicy console = good("[access]\nconsole = 'group'\n[[package]]\n").access;
  EXPECT_EQ(console.console, LeftTo::group);
  EXPECT_EQ(console.control, LeftTo::owner);
  const AccessPolicy control = good("access = { console = 'owner', control = 'group' }\n[[package]]\n").access;
  EXPECT_EQ(control.console, LeftTo::owner);
  EXPECT_EQ(control.control, LeftTo::group);
}

TEST(Machine, NamesThoseThatEnclavesMayGoTo) {
  const std::string one = "ed25519:" + std::string(42, 'A') + "E=", two = "ed25519:" + std::string(42, 'A') + "I=";
  EXPECT_THAT(good("[migration]\n[[package]]\n").peers, SizeIs(0));
  const auto peers = good("[migration]\npeers = [{ name = 'rack2', key = '" + one + "' },\n { name = 'x', key = '" +
                          two + "', owner = 'alice' }]\n[[package]]\n")
                         .peers;
  ASSERT_THAT(peers, SizeIs(2));
  EXPECT_EQ(peers[0], (MovePeer{.name = "rack2", .key = *read_public_key(one), .owner = {}}));
  EXPECT_EQ(peers[1], (MovePeer{.name = "x", .key = *read_public_key(two), .owner = "alice"}));
}

TEST(Machine, NamesTheStoragesThatOthersHaveToo) {
  EXPECT_THAT(good("[storage]\n[[package]]\n").storages, IsEmpty());
  const auto storages = good("[storage]\nvm-1 = '/srv/vm/'\nB = '/srv'\n[[package]]\n").storages;
  EXPECT_THAT(storages, ElementsAre(SharedStorage{"vm-1", "/srv/vm"}, SharedStorage{"B", "/srv"}));
}

TEST(Machine, SectionsHavePlaceSizeAndNode) {
  const MachineDescription machine = good(R"(
keys = "separate"
silicon = "icelake-server"
engine = "interpreter"

[[package]]
epc = [{ size = "96256 KiB", base = 0x20_0000_0000, faulty = [0, 24063] }]

[[package]]

[[package]]
[[package.epc]]
size = 1
[[package.epc]]
size = "2 GiB"
node = 7
)");
  EXPECT_EQ(machine.keys, KeySharing::separate);
  EXPECT_EQ(machine.silicon, "icelake-server");
  EXPECT_EQ(machine.engine, Engine::interpreter);
  ASSERT_THAT(machine.packages, SizeIs(3));
  EXPECT_THAT(machine.packages[0].epc, ElementsAre(EpcSectionDescription{
                                           .base = 128 * gib, .bytes = 96256 * kib, .node = 0, .faulty = {0, 24063}}));
  EXPECT_THAT(machine.packages[1].epc, IsEmpty());
  EXPECT_THAT(machine.packages[2].epc, ElementsAre(section(129 * gib, mib, 2), section(130 * gib, 2 * gib, 7)))
      << "after the others, at whole GiB, in the package's node";
}

TEST(Machine, LaunchControlIsOneOfFourCases) {
  const std::string package = "[[package]]\n";
  EXPECT_EQ(good("launch_control = 'none'\n" + package).launch_control, LaunchControl::none);
  EXPECT_EQ(good("launch_control = 'unwritable'\n" + package).launch_control, LaunchControl::unwritable);
  EXPECT_EQ(good("launch_control = 'unlocked'\n" + package).launch_control, LaunchControl::unlocked);
  const auto locked = good("launch_control = 'locked'\nlaunch_hash = '" + hash + "'\n" + package);
  EXPECT_EQ(locked.launch_control, LaunchControl::locked);
  ASSERT_TRUE(locked.launch_hash);
  EXPECT_THAT(*locked.launch_hash, ElementsAre(1, 2, 3, u64{1} << 63));
  EXPECT_TRUE(good("launch_hash = '" + hash + "'\n" + package).launch_hash) << "the value at reset, if unlocked";
}

TEST(Machine, WithoutEpcItSaysWhySgxIsOff) {
  EXPECT_THAT(good("[[package]]\n").sgx_off, HasSubstr("no package of the machine description has EPC"));
}

TEST(Machine, AccountsTakeItsSections) {
  const auto machine =
      good("keys = 'separate'\npackage = [{ epc = [{ size = 4 }] }, { epc = [{ size = 8, node = 5 }] }]");
  const auto epc = toolstack::MachineEpc::create(epc_spec(machine));
  ASSERT_TRUE(epc) << epc.error();
  EXPECT_EQ(epc->count(0).total, 4 * mib / arch::page_size);
  EXPECT_EQ(epc->count(1).total, 8 * mib / arch::page_size);
  EXPECT_EQ(epc_spec(machine).keys, KeySharing::separate);
  EXPECT_EQ(epc_spec(machine).sections[1].node, 5u);
  EXPECT_EQ(epc->package_of(arch::Mfn{(5 * gib) / arch::page_size}), 1u);
}

// SDM vol. 4, table 2-2: the hash MSRs are there with SGX_LC, whatever firmware would do with them.
TEST(Machine, LaunchControlIsTheSilicons) {
  const std::string package = "[[package]]\nepc = [{ size = 4 }]\n";
  EXPECT_EQ(good("silicon = 'skylake-client'\n" + package).launch_control, LaunchControl::none);
  EXPECT_EQ(good("silicon = 'icelake-server'\n" + package).launch_control, LaunchControl::unlocked);
  EXPECT_EQ(good("silicon = 'default'\n" + package), good(package));
}

struct Bad {
  std::string text;
  u32 line, column;
  std::vector<const char*> says;
};

TEST(Machine, WrongDescriptionsAreRefusedWhereTheyStand) {
  const std::string end = "\n[[package]]\n", peer_key = "ed25519:" + std::string(43, 'A') + "=";
  const Bad cases[] = {
      {"keys = ", 1, 8, {"end-of-file"}},
      {"storage = 1" + end, 1, 11, {"'storage'", "found 1", "a table, begun with [storage]"}},
      {"[storage]\nvm = 1" + end, 2, 6, {"'vm'", "found 1", "the absolute path of a folder"}},
      {"[storage]\nvm = 'srv'" + end, 2, 6, {"'vm'", "found \"srv\"", "the absolute path of a folder"}},
      {"[storage]\nvm = '/'" + end, 2, 6, {"the absolute path of a folder"}},
      {"[storage]\nvm = '/a/../b'" + end, 2, 6, {"without \".\", \"..\""}},
      {"[storage]\nvm = '/\u00e4'" + end, 2, 6, {"in ASCII"}},
      {"[storage]\n7 = '/a'" + end, 2, 1, {"'storage'", "found '7'", "letters, digits"}},
      {"[storage]\n'a/b' = '/a'" + end, 2, 1, {"'storage'", "letters, digits"}},
      {"[storage]\nvm = '/a'\nother = '/a/'" + end, 3, 9, {"'other'", "found the folder of 'vm'"}},
      {"keys = \"shared\nx", 1, 15, {}},
      {"keys = 'both'" + end, 1, 8, {"'keys'", "found \"both\"", "expected \"shared\" or \"separate\""}},
      {std::string("[[\0package]]", 12), 1, 3, {"saw '\\u0000'"}},
      {"\u00e4 = 1" + end, 1, 1, {"saw '?'"}},
      {"[[[package]]]", 1, 3, {"saw '['"}},
      {"keys = 1" + end, 1, 8, {"found 1"}},
      {"kyes = 'shared'" + end, 1, 1, {"unknown key \"kyes\"", "did you mean 'keys'?"}},
      {"zzzzzzzz = 1" + end,
       1,
       1,
       {"unknown key",
        "expected silicon, engine, keys, launch_control, launch_hash, memory_overcommit, overcommit, domains, access, "
        "migration, storage, package"}},
      {"  \"k\\u0001\" = 1" + end, 1, 3, {"unknown key \"k?\""}},
      {"silicon = 'Skylake-Client-IBRS'" + end,
       1,
       11,
       {"a model of libvirt's", "a processor's description", "'cpu_flags'"}},
      {"silicon = ''" + end, 1, 11, {"found \"\"", "the name of a processor's description"}},
      {"silicon = 2020-01-01" + end, 1, 11, {"found a date"}},
      {"silicon = 'skylake'" + end, 1, 11, {"unknown silicon 'skylake', did you mean 'skylake-client'?"}},
      {"engine = 'checked'" + end, 1, 10, {"found \"checked\"", "\"auto\", \"interpreter\" or \"compiler\""}},
      {"silicon = '/tmp/dump'" + end, 1, 11, {"unknown silicon '/tmp/dump' (known: default, "}},
      {"silicon = 'skylake-client'\nlaunch_control = 'unlocked'" + end,
       2,
       18,
       {"found \"unlocked\", expected \"none\"", "'skylake-client' has no launch control"}},
      {"launch_control = 'open'" + end, 1, 18, {"\"none\", \"unwritable\", \"locked\" or \"unlocked\""}},
      {"launch_control = 'locked'" + end, 1, 18, {"needs 'launch_hash'"}},
      {"launch_hash = '12'" + end, 1, 15, {"found \"12\"", "64 hexadecimal digits"}},
      {"launch_control = 'none'\nlaunch_hash = '" + hash + "'" + end, 2, 15, {"launch_control = \"none\"", "Intel's"}},
      {"package = 1", 1, 11, {"found 1", "[[package]]"}},
      {"package = [1]", 1, 12, {"found 1", "[[package]]"}},
      {"[package]\nepc = []", 1, 1, {"found a table", "[[package]]"}},
      {"[[package]]\nepc = 256", 2, 7, {"found 256", "[{ size = 256 }]"}},
      {"[[package]]\nepc = [256]", 2, 8, {"found 256", "[{ size = 256 }]"}},
      {"[[package]]\nepc = [{ node = 1 }]", 2, 8, {"found no 'size'"}},
      {"[[package]]\nepc = [{ siez = 1 }]", 2, 10, {"did you mean 'size'?"}},
      {"[[package]]\nepc = [{ size = 0 }]", 2, 17, {"'size'", "found 0", "a number from 1 to 8388608 (in MiB"}},
      {"[[package]]\nepc = [{ size = 1.5 }]", 2, 17, {"found 1.5"}},
      {"[[package]]\nepc = [{ size = '2 KiB' }]", 2, 17, {"found \"2 KiB\"", "whole pages of 4 KiB"}},
      {"[[package]]\nepc = [{ size = '64M' }]", 2, 17, {"found \"64M\"", "KiB, MiB or GiB"}},
      {"[[package]]\nepc = [{ size = '0 GiB' }]", 2, 17, {"found \"0 GiB\""}},
      {"[[package]]\nepc = [{ size = '99999999999999999999 GiB' }]", 2, 17, {"KiB, MiB or GiB"}},
      {"[[package]]\nepc = [{ size = 1, base = 4097 }]", 2, 27, {"found 4097", "a multiple of 4096"}},
      {"[[package]]\nepc = [{ size = 1, base = -4096 }]", 2, 27, {"found -4096", "a number from 0"}},
      {"[[package]]\nepc = [{ size = 2, base = 0xffffffff00000 }]", 2, 8, {"beyond 52 bits"}},
      {"[[package]]\nepc = [{ size = 8388608 }, { size = 1 }]", 2, 28, {"more than 8 TiB"}},
      {"[[package]]\nepc = [{ size = 1, node = 1024 }]", 2, 27, {"from 0 to 1023"}},
      {"[[package]]\nepc = [{ size = 1, faulty = 3 }]", 2, 29, {"found 3", "an array of page numbers"}},
      {"[[package]]\nepc = [{ size = 1, faulty = [256] }]", 2, 8, {"faulty page 256", "has 256 pages"}},
      {"[[package]]\nepc = [{ size = 2, base = 0 },\n { size = 1, base = 0x100000 }]",
       3,
       2,
       {"0x100000-0x1fffff overlaps 0x0-0x1fffff"}},
      {"[[package]]\nname = 'ä'\n", 2, 1, {"unknown key \"name\""}},
      {"memory_overcommit = 0" + end, 1, 21, {"found 0", "a number from 0.1 to 1000"}},
      {"memory_overcommit = nan" + end, 1, 21, {"a number from 0.1 to 1000"}},
      {"memory_overcommit = '2'" + end, 1, 21, {"found \"2\""}},
      {"overcommit = 2" + end, 1, 14, {"found 2", "a table, begun with [overcommit]"}},
      {"[overcommit]\nratio = 0.5" + end, 2, 9, {"'ratio'", "found 0.5", "a number from 1 to 1000"}},
      {"[overcommit]\nratio = nan" + end, 2, 9, {"a number from 1 to 1000"}},
      {"[overcommit]\nreserve = -1" + end, 2, 11, {"'reserve'", "found -1", "in MiB"}},
      {"[overcommit]\nreserve = '1 MiB'" + end, 2, 11, {"'reserve'", "found \"1 MiB\""}},
      {"[overcommit]\nchunk = 0" + end, 2, 9, {"'chunk'", "found 0", "a number from 1 to 1024"}},
      {"migration = 1" + end, 1, 13, {"found 1", "a table, begun with [migration]"}},
      {"[migration]\npears = []" + end, 2, 1, {"unknown key \"pears\"", "did you mean 'peers'?"}},
      {"[migration]\npeers = 'x'" + end, 2, 9, {"'peers'", "an array of tables"}},
      {"[migration]\npeers = [1]" + end, 2, 10, {"'peers'", "found 1", "an array of tables"}},
      {"[migration]\npeers = [{ name = 'a' }]" + end, 2, 10, {"found no 'key'", "cloister host --key"}},
      {"[migration]\npeers = [{ key = '" + peer_key + "' }]" + end, 2, 10, {"found no 'name'"}},
      {"[migration]\npeers = [{ name = '', key = '" + peer_key + "' }]" + end, 2, 19, {"'name'", "found ''"}},
      {"[migration]\npeers = [{ name = 'a', key = 'ed25519:AA' }]" + end, 2, 30, {"'key'", "ed25519:BASE64"}},
      {"[migration]\npeers = [{ name = 'a', owner = '1000' }]" + end, 2, 32, {"'owner'", "a user's name"}},
      {"[migration]\npeers = [{ name = 'a', owner = '' }]" + end, 2, 32, {"'owner'", "a user's name"}},
      {"[migration]\npeers = [{ name = 'a', key = '" + peer_key + "' }, { name = 'b', key = '" + peer_key + "' }]" +
           end,
       2,
       88,
       {"found the key of 'a'", "another one for each machine"}},
      {"[overcommit]\nrate = 1" + end, 2, 1, {"unknown key \"rate\"", "did you mean 'ratio'?"}},
      {"domains = 2" + end, 1, 11, {"found 2", "a table, begun with [domains]"}},
      {"[[domains]]" + end, 1, 1, {"found an array", "a table, begun with [domains]"}},
      {"[domains]\nstart_at_onec = 1" + end, 2, 1, {"did you mean 'start_at_once'?"}},
      {"[domains]\nstart_at_once = 0" + end, 2, 17, {"'start_at_once'", "found 0", "a number from 1 to 64"}},
      {"[domains]\nstop_at_once = 65" + end, 2, 16, {"'stop_at_once'", "found 65", "a number from 1 to 64"}},
      {"[domains]\nstop_at_once = '1'" + end, 2, 16, {"found \"1\""}},
      {"access = 'group'" + end, 1, 10, {"found \"group\"", "a table, begun with [access]"}},
      {"[access]\ncontrol = 'all'" + end, 2, 11, {"'control'", "found \"all\"", "\"owner\" or \"group\""}},
      {"[access]\nconsole = true" + end, 2, 11, {"'console'"}},
      {"[access]\nconsoles = 'group'" + end, 2, 1, {"unknown key \"consoles\"", "did you mean 'console'?"}},
      {"silicon = 'ä'; keys = 2", 1, 15, {}},  // columns count bytes
  };
  for (const Bad& bad : cases) {
    const auto machine = read_machine(bad.text);
    ASSERT_FALSE(machine.has_value()) << bad.text;
    EXPECT_EQ(machine.error().at.line, bad.line) << bad.text << ": " << machine.error().message;
    EXPECT_EQ(machine.error().at.column, bad.column) << bad.text << ": " << machine.error().message;
    for (const char* part : bad.says) EXPECT_THAT(machine.error().message, HasSubstr(part)) << bad.text;
  }
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Machine, TheExampleIsAMachineOfTwoPackages) {
  const MachineDescription machine = good(contents(CLOISTER_SOURCE_DIR "/examples/machine.toml"));
  EXPECT_THAT(machine.packages, SizeIs(2));
}

TEST(Machine, TheDocumentationNamesEveryKey) {
  const std::string text = contents(CLOISTER_SOURCE_DIR "/docs/machine.md");
  for (const char* key : {"silicon",      "engine", "keys",    "launch_control", "launch_hash", "memory_overcommit",
                          "overcommit",   "ratio",  "reserve", "chunk",          "domains",     "start_at_once",
                          "stop_at_once", "access", "console", "control",        "package",     "epc",
                          "storage",      "base",   "size",    "node",           "faulty",      "migration",
                          "peers",        "name",   "key",     "owner"})
    EXPECT_THAT(text, HasSubstr("| `" + std::string(key) + "` |"));
}

TEST(Machine, AFileIsReadAndItsErrorsHaveItsName) {
  const std::string path = std::string(CLOISTER_BINARY_DIR) + "/machine_test.toml";
  std::ofstream(path) << "[[package]]\nepc = [{ size = 3 }]\n";
  const auto no_host = [] { return HostEpc{}; };
  const auto machine = load_machine(path, no_host);
  ASSERT_TRUE(machine) << machine.error();
  EXPECT_EQ(machine->packages[0].epc[0].bytes, 3 * mib);
  EXPECT_EQ(machine->origin, path);
  std::ofstream(path) << "keys = 1\n";
  EXPECT_THAT(load_machine(path, no_host).error(), HasSubstr(path + ":1:8: 'keys': found 1"));
  std::filesystem::remove(path);
  EXPECT_THAT(load_machine(path, no_host).error(), HasSubstr(path + ": cannot read: "));
}

TEST(Machine, WithoutAFileTheHostsEpcCountsThenTheDefault) {
  if (std::filesystem::exists(machine_file)) GTEST_SKIP() << "this host has " << machine_file;
  EXPECT_EQ(*load_machine({}, [] { return HostEpc{}; }), default_machine());
  HostEpc host{.packages = {{.epc = {section(gib, mib, 0)}}}, .sgx = true, .sgx_off = ""};
  EXPECT_EQ(load_machine({}, [&] { return host; })->packages, host.packages);
  host = {.packages = {{}}, .sgx = true, .sgx_off = "processors differ"};
  EXPECT_EQ(load_machine({}, [&] { return host; })->sgx_off, "processors differ");
}

TEST(Machine, AFileThatSaysNothingOfPackagesLeavesThemToTheHost) {
  const std::string path = std::string(CLOISTER_BINARY_DIR) + "/machine_without_packages.toml";
  std::ofstream(path) << "[access]\nconsole = 'group'\n";
  const HostEpc host{.packages = {{.epc = {section(gib, mib, 0)}}}, .sgx = true, .sgx_off = ""};
  const auto machine = load_machine(path, [&] { return host; });
  ASSERT_TRUE(machine) << machine.error();
  EXPECT_EQ(machine->packages, host.packages);
  EXPECT_EQ(machine->access.console, LeftTo::group);
  EXPECT_EQ(machine->origin, path);
  const HostEpc off{.packages = {{}}, .sgx = true, .sgx_off = "processors differ"};
  EXPECT_EQ(load_machine(path, [&] { return off; })->sgx_off, "processors differ");
  EXPECT_EQ(load_machine(path, [] { return HostEpc{}; })->packages, default_machine().packages);
  EXPECT_EQ(load_machine(path, [] { return HostEpc{}; })->sgx_off, "");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace cloister::toolstack
