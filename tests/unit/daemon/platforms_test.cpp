// Whose keys domains are given: what their VMMs say of what they were handed (fake_vmm.hpp).
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>

#include "text/json_fields.hpp"
#include "unit/daemon/fake_vmm.hpp"
#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests::platforms {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct Given {
  std::string root, paging;
  u64 boot = 0;
};

class Platforms : public testing::Test {
 protected:
  Platforms() { EXPECT_TRUE(daemon_.start()); }

  CreateRequest request(const std::string& name, const std::string& more = "") const {
    CreateRequest request = daemon_.request(name);
    request.config += more;
    return request;
  }
  std::string told(const std::string& name) const {
    std::ifstream file(keys_file(daemon_.request(name).file, name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Of a domain that is added, what its VMM has.
  Given given(const std::string& name, const std::string& more = "") {
    const auto added = daemon_->add(request(name, more));
    EXPECT_TRUE(added) << added.error().message;
    return last(name);
  }
  Given last(const std::string& name) const {
    Given given;
    std::istringstream(told(name)) >> given.root >> given.paging >> given.boot;
    EXPECT_EQ(given.paging.size(), 64u) << told(name);
    return given;
  }
  /// A key that another user's domain has made.
  void make_foreign(const KeyName& key) {
    daemon_.stop();
    const Registry registry = daemon_.registry();
    KeyRing ring(registry, {fixed_platform_secret(), {{1}}});
    ASSERT_TRUE(ring.read());
    ASSERT_TRUE(ring.power_on(key, {54321, 54321, {}}, "theirs"));
    ASSERT_TRUE(daemon_.start());
  }
  fs::path definition_file() const { return fs::directory_iterator(daemon_.paths.definitions())->path(); }
  static void rewrite(const fs::path& file, const std::function<void(nlohmann::json&)>& change) {
    std::stringstream text;
    text << std::ifstream(file).rdbuf();
    nlohmann::json object = nlohmann::json::parse(text.str());
    change(object);
    std::ofstream(file) << object.dump();
  }
  static std::string hex(const Secret& secret) {
    std::string text;
    for (const u8 byte : secret) text += fmt::format("{:02x}", byte);
    return text;
  }

  static constexpr const char* group = "sgx_platform = \"group:db\"\n";
  static constexpr const char* machine = "sgx_platform = \"machine\"\n";

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
};

TEST_F(Platforms, APrivateDomainHasItsOwnKeysForEver) {
  const Given one = given("one"), two = given("two");
  EXPECT_EQ(one.root, one.paging);
  EXPECT_NE(one.root, two.root);
  for (int again = 0; again < 3; ++again) {
    ASSERT_TRUE(daemon_->destroy("one"));
    daemon_.restart();
    const Given later = given("one");
    EXPECT_EQ(later.root, one.root);
    EXPECT_NE(later.boot, one.boot);
  }
  EXPECT_NE(one.root, hex(fixed_platform_secret()));
}

TEST_F(Platforms, AGroupSharesAllButThePagingKey) {
  const Given one = given("one", group), two = given("two", group),
              other = given("other", "sgx_platform = 'group:x'\n");
  EXPECT_EQ(one.root, two.root);
  EXPECT_NE(one.root, other.root);
  EXPECT_EQ(std::set({one.root, one.paging, two.paging, other.root, other.paging}).size(), 5u);
  // Whoever leaves it has what no other member has had.
  ASSERT_TRUE(daemon_->destroy("one"));
  const Given alone = given("one");
  EXPECT_EQ(alone.root, one.paging);
}

TEST_F(Platforms, TheMachinesSecretIsForItsDomainsAlone) {
  const Given one = given("one", machine), two = given("two", machine);
  EXPECT_EQ(one.root, hex(fixed_platform_secret()));
  EXPECT_EQ(two.root, one.root);
  EXPECT_EQ(std::set({one.root, one.paging, two.paging}).size(), 3u);
}

TEST_F(Platforms, ADomainWithoutEpcGetsNone) {
  CreateRequest plain = request("one");
  plain.config.replace(plain.config.find("epc = 1"), 7, "epc = 0");
  const auto added = daemon_->add(plain);
  ASSERT_TRUE(added);
  EXPECT_EQ(added->platform, std::nullopt);
  EXPECT_EQ(told("one"), "none");
  EXPECT_TRUE(fs::is_empty(daemon_.paths.keys()));
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("one"), "running");
}

TEST_F(Platforms, NoPagingKeyComesWithABootNumberTwice) {
  std::set<std::pair<std::string, u64>> seen;
  std::size_t power_ons = 0;
  for (const char* const more : {"", group, machine, group, ""}) {
    for (const char* const name : {"one", "two"}) {
      const Given now = given(name, more);
      seen.emplace(now.paging, now.boot);
      ++power_ons;
    }
    if (power_ons % 4 == 0) daemon_.restart();
    for (const char* const name : {"one", "two"}) ASSERT_TRUE(daemon_->destroy(name));
  }
  EXPECT_EQ(seen.size(), power_ons);
}

TEST_F(Platforms, AnotherUsersUuidOrGroupIsRefused) {
  const std::string uuid = "3ba1b3d8-52a4-4f2c-9b1e-0d5b8d0c4a10";
  make_foreign(KeyName::of_domain(uuid));
  make_foreign(KeyName::of_group("db"));
  const std::string by_uuid = "uuid = \"" + uuid + "\"\n";
  for (const std::string& more : {by_uuid, std::string(group)}) {
    const auto refused = daemon_->add(request("one", more));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().status, 409);
    EXPECT_THAT(refused.error().message, HasSubstr("is user 54321's"));
    EXPECT_NE(refused.error().line, 0u);
  }
  CreateRequest plain = request("one", by_uuid);
  plain.config.replace(plain.config.find("epc = 1"), 7, "epc = 0");
  EXPECT_EQ(daemon_->add(plain).error().status, 409);
  EXPECT_EQ(daemon_.define("one", by_uuid).error().status, 409);
  EXPECT_EQ(daemon_.left(), "");
  ASSERT_TRUE(daemon_.define("one", group)) << "which may become the user's";
  EXPECT_EQ(daemon_->start("one", false).error().status, 409);
}

TEST_F(Platforms, WhatAnEarlierVersionDefinedIsTheMachines) {
  ASSERT_TRUE(daemon_.define("one"));
  EXPECT_EQ(daemon_->find("one")->platform, SgxPlatform{});
  daemon_.stop();
  rewrite(definition_file(), [](nlohmann::json& object) {
    object["version"] = 1;
    object.erase("machine_keys");
  });
  ASSERT_TRUE(daemon_.start());
  const SgxPlatform of_machine{.keys = SgxPlatform::Keys::machine};
  EXPECT_EQ(daemon_->find("one")->platform, of_machine);
  ASSERT_TRUE(daemon_->start("one", false));
  EXPECT_EQ(last("one").root, hex(fixed_platform_secret()));
  // Written anew, in the newest form, with a text that does not say it either.
  ASSERT_TRUE(daemon_->destroy("one"));
  ASSERT_TRUE(daemon_.define("one", "vcpus = 2\n"));
  daemon_.restart();
  EXPECT_EQ(daemon_->find("one")->platform, of_machine);
  ASSERT_TRUE(daemon_.define("one", "sgx_platform = 'private'\n"));
  EXPECT_EQ(daemon_->find("one")->platform, SgxPlatform{});
  ASSERT_TRUE(daemon_.define("one"));
  EXPECT_EQ(daemon_->find("one")->platform, SgxPlatform{});
}

TEST_F(Platforms, WhatAnEarlierVersionStartedIsTheMachines) {
  ASSERT_TRUE(daemon_->add(daemon_.request("one", "older")));
  daemon_.stop();
  rewrite(fs::directory_iterator(daemon_.paths.records())->path(), [](nlohmann::json& object) {
    object["version"] = 5;
    object.erase("sgx_platform");
  });
  ASSERT_TRUE(daemon_.start());
  EXPECT_EQ(daemon_.shown("one"), "running") << "its VMM hands over one descriptor more";
  EXPECT_EQ(daemon_->find("one")->platform, SgxPlatform{.keys = SgxPlatform::Keys::machine});
  ASSERT_TRUE(daemon_->destroy("one"));
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Platforms, ANamesUuidIsItsUsersAsLongAsNobodyHasIt) {
  const auto one = daemon_.add("one");
  ASSERT_TRUE(one);
  ASSERT_TRUE(daemon_->change("one", {.name = "first"}));
  const auto refused = daemon_.add("one");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 409);
  EXPECT_THAT(refused.error().message, HasSubstr(one->uuid));
  ASSERT_TRUE(daemon_->destroy("first"));
  EXPECT_EQ(daemon_.add("one")->uuid, one->uuid);
}

}  // namespace
}  // namespace cloister::tests::platforms
