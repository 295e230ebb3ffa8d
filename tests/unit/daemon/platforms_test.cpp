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

TEST_F(Platforms, ACreationThatFailsLeavesNoKeyThatItMade) {
  const Given before = given("before", group);
  ASSERT_TRUE(daemon_->destroy("before"));
  for (const char* const word : {"dies", "refuses", "dies-at-run"}) {
    for (const char* const whose : {group, "sgx_platform = 'group:new'\n", ""}) {
      CreateRequest fails = daemon_.request("a", word);
      fails.config += whose;
      EXPECT_FALSE(daemon_->add(fails)) << word;
      EXPECT_EQ(daemon_->keys().size(), 2u) << word << ", " << whose;
    }
  }
  EXPECT_EQ(given("before", group).root, before.root);
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

/// The daemon's own user, and one who is neither that nor root.
Peer me() { return {.pid = 1, .uid = ::geteuid(), .gid = ::getegid()}; }
Peer somebody() { return {.pid = 1, .uid = 54322, .gid = 54322}; }

class KeyVerbs : public Platforms {
 protected:
  std::string uuid(const std::string& name) const { return daemon_->find(name)->uuid; }
  int status_of_erasing(const std::string& key, const Peer& who = me()) {
    const auto erased = daemon_->erase_key(key, who);
    return erased ? 200 : erased.error().status;
  }
  bool is_there(const std::string& key) const { return daemon_->key(key).has_value(); }
};

TEST_F(KeyVerbs, AreShownWithWhoUsesThem) {
  given("one", group);
  given("two", group);
  const std::string one = uuid("one");
  ASSERT_TRUE(daemon_->destroy("one"));
  daemon_.restart();
  const std::vector<KeyInfo> keys = daemon_->keys();
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(to_text(keys[2].key), "group:db");
  EXPECT_EQ(keys[2].used_by, std::vector<std::string>{"two"});
  EXPECT_EQ(keys[2].domain, "two");
  EXPECT_EQ(keys[2].power_ons, 2u);
  EXPECT_EQ(keys[2].owner.user, ::geteuid());
  const auto own = daemon_->key(one);
  ASSERT_TRUE(own);
  EXPECT_TRUE(own->used_by.empty());
  EXPECT_EQ(own->domain, "one");
}

TEST_F(KeyVerbs, EraseWhatNobodyUses) {
  const Given before = given("one", group);
  const std::string own = uuid("one");
  for (const std::string& key : {own, std::string("group:db")}) EXPECT_EQ(status_of_erasing(key), 409) << key;
  ASSERT_TRUE(daemon_->destroy("one"));
  for (const std::string& key : {own, std::string("group:db")}) {
    EXPECT_EQ(status_of_erasing(key), 200) << key;
    EXPECT_EQ(status_of_erasing(key), 404) << key;
  }
  EXPECT_TRUE(fs::is_empty(daemon_.paths.keys()));
  const Given after = given("one", group);
  EXPECT_NE(after.root, before.root);
  EXPECT_NE(after.paging, before.paging);
}

TEST_F(KeyVerbs, EraseForTheirOwnerAndRootAlone) {
  const KeyName theirs = KeyName::of_group("theirs");
  make_foreign(theirs);
  EXPECT_EQ(status_of_erasing("group:theirs", somebody()), 403);
  EXPECT_TRUE(is_there("group:theirs"));
  EXPECT_EQ(status_of_erasing("group:theirs", {.pid = 1, .uid = 54321, .gid = 1}), 200);
  make_foreign(theirs);
  EXPECT_EQ(status_of_erasing("group:theirs", {.pid = 1, .uid = 0, .gid = 0}), 200);
  // Whatever is left to the group of domains.
  daemon_.machine.access = {.console = LeftTo::group, .control = LeftTo::group};
  daemon_.restart();
  ASSERT_TRUE(daemon_.define("one"));
  given("two");
  ASSERT_TRUE(daemon_->start("one", false));
  const std::string one = uuid("one");
  ASSERT_TRUE(daemon_->destroy("one"));
  EXPECT_EQ(status_of_erasing(one, somebody()), 403);
  const Peer other = somebody();
  EXPECT_EQ(daemon_->undefine("one", {}, &other, true).error().status, 403);
  EXPECT_EQ(daemon_->move_to_own_keys("one", other).error().status, 403);
  EXPECT_TRUE(daemon_->definition("one")) << "nothing is done by halves";
  EXPECT_TRUE(is_there(one));
}

TEST_F(KeyVerbs, UndefineErasesTheDomainsOwnAndNeverAGroups) {
  const Peer who = me();
  for (const bool keys : {false, true}) {
    ASSERT_TRUE(daemon_.define("one", group));
    ASSERT_TRUE(daemon_->start("one", false));
    const std::string own = uuid("one");
    EXPECT_EQ(daemon_->undefine("one", {}, &who, true).error().status, 409) << "it lives";
    ASSERT_TRUE(daemon_->destroy("one"));
    ASSERT_TRUE(daemon_->undefine("one", {}, &who, keys));
    EXPECT_EQ(is_there(own), !keys);
    EXPECT_TRUE(is_there("group:db"));
  }
  // Of a domain that has never had any.
  ASSERT_TRUE(daemon_.define("one"));
  EXPECT_TRUE(daemon_->undefine("one", {}, &who, true));
}

TEST_F(KeyVerbs, NothingIsErasedWhileARecordDoesNotSayWhatItsDomainHas) {
  given("one");
  given("two", group);
  const std::string two = uuid("two");
  ASSERT_TRUE(daemon_->destroy("two"));
  daemon_.stop();
  const fs::path record = fs::directory_iterator(daemon_.paths.records())->path();
  rewrite(record, [](nlohmann::json& object) { object["version"] = record_version + 1; });
  ASSERT_TRUE(daemon_.start());
  EXPECT_EQ(status_of_erasing(two), 200) << "what is to be read of it says that it has another";
  EXPECT_EQ(status_of_erasing(uuid("one")), 409);
  daemon_.stop();
  rewrite(record, [](nlohmann::json& object) { object["sgx_platform"] = "of a kind that is not known yet"; });
  ASSERT_TRUE(daemon_.start());
  EXPECT_EQ(status_of_erasing("group:db"), 409);
  EXPECT_EQ(daemon_->key("group:db")->used_by, std::vector<std::string>{"one"});
  ASSERT_TRUE(daemon_->destroy("one"));
  EXPECT_EQ(status_of_erasing("group:db"), 200);
}

TEST_F(KeyVerbs, MoveADefinitionOfAnEarlierVersionToItsOwn) {
  ASSERT_TRUE(daemon_.define("one"));
  daemon_.stop();
  rewrite(definition_file(), [](nlohmann::json& object) {
    object["version"] = 1;
    object.erase("machine_keys");
  });
  ASSERT_TRUE(daemon_.start());
  ASSERT_TRUE(daemon_->start("one", false));
  EXPECT_EQ(last("one").root, hex(fixed_platform_secret()));
  const auto moved = daemon_->move_to_own_keys("one", me());
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->platform, SgxPlatform{.keys = SgxPlatform::Keys::machine}) << "until its next start";
  EXPECT_EQ(moved->differs, std::vector<std::string>{"sgx_platform"});
  EXPECT_TRUE(daemon_->move_to_own_keys("one", me()));
  ASSERT_TRUE(daemon_->destroy("one"));
  daemon_.restart();
  EXPECT_EQ(daemon_->find("one")->platform, SgxPlatform{});
  ASSERT_TRUE(daemon_->start("one", false));
  EXPECT_EQ(last("one").root, last("one").paging);
  EXPECT_EQ(daemon_->move_to_own_keys("none", me()).error().status, 404);
  ASSERT_TRUE(daemon_.define("said", machine));
  EXPECT_EQ(daemon_->move_to_own_keys("said", me()).error().status, 409);
}

}  // namespace
}  // namespace cloister::tests::platforms
