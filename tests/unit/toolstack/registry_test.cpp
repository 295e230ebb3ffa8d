// What the daemon keeps: whole files, read back as they were written, and none of it guessed.
#include "daemon/registry.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "host/durable.hpp"
#include "machine/machine_silicon.hpp"
#include "plan/host_features.hpp"

namespace cloister::toolstack {
namespace {

namespace fs = std::filesystem;

class Kept : public testing::Test {
 protected:
  Kept() {
    fs::remove_all(folder_);
    auto opened = Registry::open(paths_);
    EXPECT_TRUE(opened) << opened.error();
    registry_.emplace(std::move(*opened));
  }
  ~Kept() override { fs::remove_all(folder_); }

  std::vector<DomainRecord> read() const {
    const auto records = registry_->read();
    EXPECT_TRUE(records) << records.error();
    EXPECT_TRUE(records->unread.empty() && records->strays.empty());
    return records->domains;
  }

  static DomainRecord record(u32 id, const std::string& name) {
    return {.id = id,
            .uuid = "3ba1b3d8-52a4-4f2c-9b1e-0d5b8d0c4a1" + std::to_string(id % 10),
            .name = name,
            .persistent = id % 2 == 1,
            .config = "name = \"" + name + "\"\n",
            .file = "x.cfg",
            .directory = "/srv",
            .overhead_mib = 200 + id,
            .charged_mib = 700 + id,
            .owner = {.user = 1000 + id, .group = 100, .groups = {100, 200}},
            .started = "2026-01-01T00:00:00Z",
            .placement = "why",
            .disks = {"file 8:1:1234", "block 8:16"},
            .grants = {{.package = 0, .extents = {{arch::Mfn{256 * id}, 256}}}},
            .package = {.launch_control = LaunchControl::locked,
                        .launch_hash = {{id, 2, 3, ~u64{0}}},
                        .features = machine_features("skylake-client"),
                        .faulty = {256 * id + 3}},
            .engine = id % 2 == 0 ? Engine::compiler : Engine::interpreter,
            .platform = id % 2 == 0 ? SgxPlatform{.keys = SgxPlatform::Keys::group, .group = "db"} : SgxPlatform{},
            .running = id % 2 == 0,
            .process = id % 2 == 0 ? std::optional(ProcessIdentity{
                                         .pid = 7, .start = 12345, .boot = "a-boot", .pid_namespace = 9})
                                   : std::nullopt,
            .run = "/run/somewhere",
            .saving = id % 2 == 0 ? std::optional(SavingRecord{
                                        .file = "/srv/x", .owner = {.user = 7, .group = 8, .groups = {9}}, .inode = 11})
                                  : std::nullopt,
            .move = id % 2 == 0 ? std::optional(MoveRecord{.session = std::string(32, 'a'), .peer = "ssh://there"})
                                : std::nullopt};
  }

  fs::path folder_ = testing::TempDir() + "registry-" + std::to_string(::getpid());
  DaemonPaths paths_{folder_ / "state", folder_ / "run"};
  std::optional<Registry> registry_;
};

TEST_F(Kept, DomainsComeBackUntilTheyAreRemoved) {
  ASSERT_TRUE(registry_->put(record(1, "a")));
  ASSERT_TRUE(registry_->put(record(2, "b")));
  ASSERT_TRUE(registry_->put(record(2, "c")));
  EXPECT_EQ(read(), (std::vector{record(1, "a"), record(2, "c")}));
  ASSERT_TRUE(registry_->remove(1));
  ASSERT_TRUE(registry_->remove(1)) << "what is gone can be removed";
  EXPECT_EQ(read(), (std::vector{record(2, "c")}));
}

TEST_F(Kept, AHalfWrittenFileIsNotThere) {
  ASSERT_TRUE(registry_->put(record(1, "a")));
  std::ofstream(paths_.record(1).string().append(unfinished_suffix)) << "{\"id\":1,";
  std::ofstream(paths_.record(9).string().append(unfinished_suffix)) << "{";
  EXPECT_EQ(read(), (std::vector{record(1, "a")}));
  registry_->tidy(*registry_->read());
  EXPECT_FALSE(fs::exists(paths_.record(9).string().append(unfinished_suffix)));
  EXPECT_TRUE(registry_->read()->unfinished.empty());
}

TEST_F(Kept, ARecordThatCannotBeReadIsNamedAndStandsInNobodysWay) {
  ASSERT_TRUE(registry_->put(record(1, "a")));
  for (const char* text : {"", "{", "[]", "{\"id\":3}", "{\"id\":\"3\"}"}) {
    std::ofstream(paths_.record(3)) << text;
    const auto records = registry_->read();
    ASSERT_TRUE(records) << text;
    EXPECT_EQ(records->domains, (std::vector{record(1, "a")}));
    ASSERT_EQ(records->unread.size(), 1u) << text;
    EXPECT_EQ(records->unread[0].id, 3u);
    EXPECT_FALSE(records->unread[0].why.empty());
    EXPECT_FALSE(records->unread[0].grants);
  }
  std::ofstream(paths_.record(3)) << write_record(record(4, "d"));
  auto records = registry_->read();
  ASSERT_EQ(records->unread.size(), 1u) << "another file's number";
  fs::remove(paths_.record(3));
  fs::create_symlink(paths_.record(1), paths_.record(3));
  records = registry_->read();
  ASSERT_EQ(records->unread.size(), 1u);
  EXPECT_EQ(records->unread[0].why, "a link");
}

TEST_F(Kept, WhatCanBeReadOfADamagedRecordIs) {
  auto object = nlohmann::json::parse(write_record(record(2, "a")));
  object.erase("package");
  const auto unread = salvage(2, object.dump(), "why");
  ASSERT_TRUE(unread.grants);
  EXPECT_EQ(pages_of(*unread.grants), 256u);
  EXPECT_EQ(unread.process, record(2, "a").process);
  EXPECT_EQ(unread.name, "a");
  EXPECT_EQ(unread.uuid, record(2, "a").uuid);
  EXPECT_FALSE(unread.persistent);
  EXPECT_TRUE(salvage(1, write_record(record(1, "a")), "why").persistent);
  EXPECT_FALSE(salvage(1, write_record(record(1, "a")), "why").running);
  EXPECT_EQ(unread.charged_mib, 702u);
  EXPECT_EQ(unread.platform, record(2, "a").platform);
  EXPECT_TRUE(unread.keys_known);
  EXPECT_EQ(unread.run, "/run/somewhere");
  for (const char* grants : {"{}", "\"x\"", "[1]", "null", "[{\"package\":0}]"}) {
    object["grants"] = nlohmann::json::parse(grants);
    EXPECT_FALSE(salvage(2, object.dump(), "why").grants) << grants;
  }
  auto unknown = nlohmann::json::parse(write_record(record(2, "a"))), nameless = unknown;
  unknown["sgx_platform"] = "of another kind";
  nameless.erase("uuid");
  EXPECT_FALSE(salvage(2, unknown.dump(), "why").keys_known);
  EXPECT_FALSE(salvage(2, nameless.dump(), "why").keys_known);
}

TEST_F(Kept, FilesThatAreNoRecordsAreLeftAlone) {
  const std::vector<std::string> strays{"03.json", "3.jsonx", "65535.json", "a.json", "notes.new"};
  for (const std::string& name : strays) std::ofstream(paths_.records() / name) << "mine";
  const auto records = registry_->read();
  ASSERT_TRUE(records);
  EXPECT_EQ(records->strays, strays);
  EXPECT_TRUE(records->unread.empty() && records->unfinished.empty());
  registry_->tidy(*records);
  for (const std::string& name : strays) EXPECT_TRUE(fs::exists(paths_.records() / name)) << name;
}

TEST_F(Kept, WhatIsSetAsideKeepsItsPredecessors) {
  for (const char* text : {"one", "two"}) {
    std::ofstream(paths_.record(3)) << text;
    ASSERT_TRUE(registry_->set_aside(3));
  }
  EXPECT_FALSE(fs::exists(paths_.record(3)));
  std::string text;
  std::getline(std::ifstream(paths_.state / "set-aside/3.json") >> std::ws, text);
  EXPECT_EQ(text, "one");
  EXPECT_TRUE(fs::exists(paths_.state / "set-aside/3.json.1"));
}

TEST_F(Kept, ARecordOfTheFirstVersionIsReadAsItWasMeant) {
  DomainRecord first = record(2, "a");
  first.process.reset();
  first.saving.reset();
  first.move.reset();
  first.run.clear();
  first.uuid.clear();
  first.persistent = false;
  auto object = nlohmann::json::parse(write_record(first));
  EXPECT_EQ(object["version"], record_version);
  for (const char* member :
       {"version", "run", "owner", "overhead_mib", "charged_mib", "uuid", "persistent", "sgx_platform"})
    object.erase(member);
  const auto read = read_record(object.dump());
  ASSERT_TRUE(read) << read.error();
  first.owner = own_user();
  first.overhead_mib = first.charged_mib = 0;
  first.platform = SgxPlatform{.keys = SgxPlatform::Keys::machine};  // all were, before there was anything else
  EXPECT_EQ(*read, first);
}

// Before they were chosen, a domain had of its host's features what its configuration demanded: it still has, and no
// more.
TEST_F(Kept, ARecordOfBeforeHostFeaturesHasThoseThatItsConfigurationDemands) {
  for (const auto& [cpuid, has] : {std::pair("", HostFeatures{}), {"cpuid = 'host,avx=1'\n", all_host_features()}}) {
    DomainRecord eighth = record(2, "a");
    eighth.config = std::string("name = 'a'\nkernel = 'k'\n") + cpuid;
    auto object = nlohmann::json::parse(write_record(eighth));
    object["version"] = 8;
    object["package"].erase("host_features");
    const auto read = read_record(object.dump());
    ASSERT_TRUE(read) << read.error();
    eighth.package.features = with_host_features(eighth.package.features, has);
    EXPECT_EQ(*read, eighth);
    EXPECT_EQ(salvage(2, object.dump(), "why").package, eighth.package);
    EXPECT_EQ(*read_record(write_record(*read)), eighth) << "and so it stays";
  }
}

TEST_F(Kept, ARecordOfANewerVersionIsNotGuessedAt) {
  auto object = nlohmann::json::parse(write_record(record(2, "a")));
  for (const u32 version : {0u, record_version + 1}) {
    object["version"] = version;
    const auto read = read_record(object.dump());
    ASSERT_FALSE(read) << version;
    EXPECT_NE(read.error().find("'version': " + std::to_string(version)), std::string::npos) << read.error();
  }
  object["version"] = record_version;
  for (const char* member : {"pid", "start", "boot"}) {
    auto damaged = object;
    damaged["process"].erase(member);
    const auto read = read_record(damaged.dump());
    ASSERT_FALSE(read) << member;
    EXPECT_NE(read.error().find("'process': '" + std::string(member)), std::string::npos) << read.error();
  }
  for (const char* member : {"file", "owner", "inode"}) {
    auto damaged = object;
    damaged["saving"].erase(member);
    const auto read = read_record(damaged.dump());
    ASSERT_FALSE(read) << member;
    EXPECT_NE(read.error().find("'saving': '" + std::string(member)), std::string::npos) << read.error();
  }
}

TEST_F(Kept, TheMachineStartsEmptyAndComesBack) {
  EXPECT_EQ(*registry_->machine(), MachineRecord{});
  const MachineRecord record{.next_id = 12, .withdrawn = {0x100000, 0x100003}};
  ASSERT_TRUE(registry_->put(record));
  EXPECT_EQ(*registry_->machine(), record);
  std::ofstream(paths_.machine_record()) << "{\"next_id\":1,\"withdrawn\":[\"x\"]}";
  EXPECT_FALSE(registry_->machine());
}

}  // namespace
}  // namespace cloister::toolstack
