// What the daemon keeps: whole files, read back as they were written, and none of it guessed.
#include "toolstack/daemon/registry.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "toolstack/daemon/durable.hpp"

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

  static DomainRecord record(u32 id, const std::string& name) {
    return {.id = id,
            .name = name,
            .config = "name = \"" + name + "\"\n",
            .file = "x.cfg",
            .directory = "/srv",
            .started = "2026-01-01T00:00:00Z",
            .placement = "why",
            .grants = {{.package = 0, .extents = {{arch::Mfn{256 * id}, 256}}}},
            .package = {},
            .running = id % 2 == 0,
            .process =
                id % 2 == 0 ? std::optional(ProcessIdentity{.pid = 7, .start = 12345, .boot = "a-boot"}) : std::nullopt,
            .run = "/run/somewhere"};
  }

  fs::path folder_ = testing::TempDir() + "registry-" + std::to_string(::getpid());
  DaemonPaths paths_{folder_ / "state", folder_ / "run"};
  std::optional<Registry> registry_;
};

TEST_F(Kept, DomainsComeBackUntilTheyAreRemoved) {
  ASSERT_TRUE(registry_->put(record(1, "a")));
  ASSERT_TRUE(registry_->put(record(2, "b")));
  ASSERT_TRUE(registry_->put(record(2, "c")));
  EXPECT_EQ(*registry_->domains(), (std::vector{record(1, "a"), record(2, "c")}));
  ASSERT_TRUE(registry_->remove(1));
  ASSERT_TRUE(registry_->remove(1)) << "what is gone can be removed";
  EXPECT_EQ(*registry_->domains(), (std::vector{record(2, "c")}));
}

TEST_F(Kept, AHalfWrittenFileIsNotThere) {
  ASSERT_TRUE(registry_->put(record(1, "a")));
  std::ofstream(paths_.record(1).string().append(unfinished_suffix)) << "{\"id\":1,";
  std::ofstream(paths_.record(9).string().append(unfinished_suffix)) << "{";
  EXPECT_EQ(*registry_->domains(), (std::vector{record(1, "a")}));
  EXPECT_FALSE(fs::exists(paths_.record(9).string().append(unfinished_suffix)));
}

TEST_F(Kept, ARecordThatCannotBeReadIsAnErrorWithItsName) {
  for (const char* text : {"", "{", "[]", "{\"id\":3}", "{\"id\":\"3\"}"}) {
    std::ofstream(paths_.record(3)) << text;
    const auto domains = registry_->domains();
    ASSERT_FALSE(domains) << text;
    EXPECT_NE(domains.error().find("3.json"), std::string::npos) << domains.error();
  }
  std::ofstream(paths_.record(3)) << write_record(record(4, "d"));
  EXPECT_FALSE(registry_->domains()) << "another file's number";
}

TEST_F(Kept, ARecordOfTheFirstVersionIsReadAsItWasMeant) {
  DomainRecord first = record(2, "a");
  first.process.reset();
  first.run.clear();
  auto object = nlohmann::json::parse(write_record(first));
  EXPECT_EQ(object["version"], record_version);
  object.erase("version");
  object.erase("run");
  const auto read = read_record(object.dump());
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(*read, first);
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
