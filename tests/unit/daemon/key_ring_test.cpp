// Keys of virtual platforms: their files, who may have them, and what becomes of files that nobody understands.
#include "daemon/key_ring.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "daemon/secrets.hpp"
#include "text/json_fields.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests::keys {
namespace {

namespace fs = std::filesystem;
using namespace toolstack;
using ::testing::HasSubstr;

const std::string uuid = "3ba1b3d8-52a4-4f2c-9b1e-0d5b8d0c4a10", other_uuid = "3ba1b3d8-52a4-4f2c-9b1e-0d5b8d0c4a11";
const Owner alice{1000, 1000, {4}}, bob{1001, 1001, {}};
constexpr WrapSecret wrap{{7}}, other_wrap{{8}};

DomainKey some_key() {
  return {.name = KeyName::of_domain(uuid),
          .owner = alice,
          .made = "2026-01-02T03:04:05Z",
          .last_use = "2026-01-02T03:04:06Z",
          .domain = "web",
          .power_ons = 3,
          .key = {1, 2, 3}};
}

std::string text_of_file(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(DomainKeys, ComeBackAsTheyWereWrapped) {
  const DomainKey key = some_key();
  const std::string text = wrap_key(key, wrap);
  EXPECT_EQ(unwrap_key(text, wrap), key);
  EXPECT_NE(wrap_key(key, wrap), text) << "the nonce must be another each time";
  EXPECT_FALSE(unwrap_key(text, other_wrap));
  // 01 02 03, in no form.
  EXPECT_EQ(text.find("010203"), std::string::npos);
}

TEST(DomainKeys, NoMemberCanBeChanged) {
  const auto object = nlohmann::json::parse(wrap_key(some_key(), wrap));
  for (const auto& [name, value] : object.items()) {
    SCOPED_TRACE(name);
    nlohmann::json changed = object;
    if (value.is_number()) changed[name] = value.get<unsigned>() + 1;
    if (value.is_object()) changed[name]["uid"] = 1001;
    if (value.is_string()) changed[name] = name == "key" ? other_uuid : value.get<std::string>() + "0";
    const bool hex = name == "nonce" || name == "wrapped" || name == "tag";
    if (hex) changed[name] = (value.get<std::string>()[0] == '0' ? "1" : "0") + value.get<std::string>().substr(1);
    EXPECT_FALSE(unwrap_key(changed.dump(), wrap));
    changed = object;
    changed.erase(name);
    EXPECT_FALSE(unwrap_key(changed.dump(), wrap));
  }
  nlohmann::json newer = object;
  newer["version"] = domain_key_version + 1;
  EXPECT_THAT(unwrap_key(newer.dump(), wrap).error(), HasSubstr("of which this daemon knows"));
}

TEST(DomainKeys, NamesAndFilesAreOneToOne) {
  for (const std::string& text :
       {uuid, std::string("group:db"), std::string("group:a.b-c_d+e"), "group:" + uuid + "x"}) {
    const auto name = read_key_name(text);
    ASSERT_TRUE(name) << text;
    EXPECT_EQ(to_text(*name), text);
    EXPECT_EQ(key_of_file(key_file(*name)), name);
    EXPECT_EQ(key_file(*name).find('/'), std::string::npos);
  }
  for (const char* const text : {"", "db", "group:", "group:../x", "group:a/b", "group:.x", "GROUP:a"})
    EXPECT_FALSE(read_key_name(text)) << text;
  EXPECT_EQ(to_text(read_key_name("3BA1B3D8-52A4-4F2C-9B1E-0D5B8D0C4A10").value()), uuid);
  for (const char* const file : {"x.json", "group-.json", "group-a", "3BA1B3D8-52A4-4F2C-9B1E-0D5B8D0C4A10.json"})
    EXPECT_FALSE(key_of_file(file)) << file;
}

class Ring : public testing::Test {
 protected:
  Ring() : registry_(Registry::open(paths()).value()) {}
  DaemonPaths paths() const { return {folder_.path("state"), folder_.path("run")}; }
  fs::path file(const KeyName& name) const { return paths().keys() / key_file(name); }

  KeyRing ring() const {
    KeyRing keys(registry_, {.platform = {}, .wrap = wrap});
    EXPECT_TRUE(keys.read());
    return keys;
  }

  const KeyName name_ = KeyName::of_domain(uuid), group_ = KeyName::of_group("db");
  Folder folder_;
  Registry registry_;
};

TEST_F(Ring, AKeyIsTheSameForEverAndEachPowerOnIsCounted) {
  Secret first{};
  for (u32 power_on = 1; power_on <= 3; ++power_on) {
    KeyRing keys = ring();
    EXPECT_EQ(keys.refusal(name_, alice), std::nullopt);
    const auto key = keys.power_on(name_, alice, "web");
    ASSERT_TRUE(key);
    if (power_on == 1) first = key->key;
    EXPECT_EQ(key->key, first);
    EXPECT_EQ(key->power_ons, power_on);
    EXPECT_EQ(key->domain, "web");
  }
  EXPECT_NE(first, Secret{});
  KeyRing keys = ring();
  EXPECT_NE(keys.power_on(group_, alice, "web")->key, first);
  EXPECT_EQ(ring().find(group_)->key.owner, alice);
  struct stat status {};
  ASSERT_EQ(::stat(file(name_).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(paths().keys().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

/// It comes with a domain, and goes on with it: no power-on is counted twice.
TEST_F(Ring, AKeyThatComesIsTheOneThatLeft) {
  KeyRing keys = ring();
  EXPECT_EQ(keys.id_of(name_), "");
  ASSERT_TRUE(keys.adopt(name_, {5}, 7, alice, "web"));
  for (const HeldKey& held : {*keys.find(name_), *ring().find(name_)}) {
    EXPECT_EQ(held.key.key, Secret{5});
    EXPECT_EQ(held.key.power_ons, 7u);
    EXPECT_EQ(held.key.owner, alice);
  }
  EXPECT_EQ(keys.id_of(name_).find("0500"), std::string::npos);
  EXPECT_FALSE(keys.adopt(name_, {6}, 9, alice, "web")) << "another one";
  ASSERT_TRUE(keys.adopt(name_, {5}, 3, alice, "web"));
  EXPECT_EQ(keys.find(name_)->key.power_ons, 7u) << "never back";
  ASSERT_TRUE(keys.adopt(group_, {5}, 7, alice, "web"));
  EXPECT_NE(keys.id_of(group_), keys.id_of(name_)) << "an id is of a name, too";
  const std::string id = keys.id_of(name_);
  ASSERT_TRUE(keys.renew(name_));
  EXPECT_NE(ring().find(name_)->key.key, Secret{5});
  EXPECT_NE(keys.id_of(name_), id);
  EXPECT_EQ(ring().find(name_)->key.power_ons, 8u);
}

TEST_F(Ring, AnotherUsersKeyIsRefused) {
  KeyRing keys = ring();
  for (const KeyName& name : {name_, group_}) {
    ASSERT_TRUE(keys.power_on(name, alice, "web"));
    for (const Owner& other : {bob, Owner{0, 0, {}}}) {
      const auto why = keys.refusal(name, other);
      ASSERT_TRUE(why);
      EXPECT_EQ(why->status, 409);
      EXPECT_THAT(why->message, HasSubstr("is user 1000's"));
    }
    EXPECT_EQ(keys.refusal(name, {1000, 5, {}}), std::nullopt) << "groups are not the owner's number";
  }
}

TEST_F(Ring, AnErasedKeyIsGoneAndTheNextOneIsAnother) {
  KeyRing keys = ring();
  const Secret first = keys.power_on(name_, alice, "web")->key;
  ASSERT_TRUE(keys.erase(name_));
  EXPECT_FALSE(fs::exists(file(name_)));
  EXPECT_EQ(keys.find(name_), nullptr);
  EXPECT_EQ(ring().find(name_), nullptr);
  EXPECT_NE(keys.power_on(name_, bob, "web")->key, first);
}

TEST_F(Ring, AFileThatCannotBeUnderstoodIsInTheWayUntilItIsErased) {
  ASSERT_TRUE(ring().power_on(name_, alice, "web"));
  const std::string good = text_of_file(file(name_));
  auto newer = nlohmann::json::parse(good);
  newer["version"] = domain_key_version + 1;
  const std::string other = wrap_key({.name = KeyName::of_domain(other_uuid), .owner = alice}, wrap);
  for (const std::string& text : {std::string(), std::string("{"), good.substr(0, good.size() / 2), newer.dump(), other,
                                  wrap_key(some_key(), other_wrap)}) {
    SCOPED_TRACE(text);
    std::ofstream(file(name_)) << text;
    KeyRing keys = ring();
    ASSERT_NE(keys.find(name_), nullptr);
    EXPECT_NE(keys.find(name_)->unread, "");
    const auto why = keys.refusal(name_, alice);
    ASSERT_TRUE(why);
    EXPECT_EQ(why->status, 503);
    EXPECT_THAT(why->message, HasSubstr(key_file(name_)));
    EXPECT_EQ(text_of_file(file(name_)), text) << "it stays as it is";
    EXPECT_EQ(keys.refusal(group_, alice), std::nullopt) << "it is in no other key's way";
  }
  ASSERT_TRUE(ring().erase(name_));
  EXPECT_FALSE(fs::exists(file(name_)));
  EXPECT_TRUE(fs::exists(paths().set_aside() / key_file(name_)));
  EXPECT_EQ(ring().refusal(name_, alice), std::nullopt);
}

TEST_F(Ring, OtherFilesStayAndUnfinishedOnesGo) {
  ASSERT_TRUE(ring().power_on(name_, alice, "web"));
  const fs::path stray = paths().keys() / "notes.txt", unfinished = file(group_).string() + ".new";
  std::ofstream(stray) << "mine";
  std::ofstream(unfinished) << "{";
  EXPECT_NE(ring().find(name_), nullptr);
  EXPECT_TRUE(fs::exists(stray));
  EXPECT_FALSE(fs::exists(unfinished));
}

TEST_F(Ring, UuidsAreOfOwnerNameAndState) {
  const KeyRing keys = ring(), elsewhere(registry_, {.platform = {}, .wrap = other_wrap});
  EXPECT_EQ(keys.uuid_of(alice, "web"), ring().uuid_of(alice, "web"));
  EXPECT_EQ(keys.uuid_of(alice, "web")[14], '5') << "a name's uuid is of version 5";
  const std::set<std::string> all{keys.uuid_of(alice, "web"), keys.uuid_of(alice, "db"), keys.uuid_of(bob, "web"),
                                  elsewhere.uuid_of(alice, "web")};
  EXPECT_EQ(all.size(), 4u);
}

/// Nor does what one user has count against another.
TEST_F(Ring, NobodyTakesAllKeys) {
  for (std::size_t i = 0; i < KeyRing::of_a_user; ++i) {
    const KeyName name = KeyName::of_group("g" + std::to_string(i));
    std::ofstream(file(name)) << wrap_key({.name = name, .owner = alice}, wrap);
    fs::permissions(file(name), fs::perms::owner_read | fs::perms::owner_write);
  }
  const KeyRing keys = ring();
  const auto why = keys.refusal(name_, alice);
  ASSERT_TRUE(why);
  EXPECT_EQ(why->status, 507);
  EXPECT_EQ(why->message, fmt::format("user {} has 4096 keys already, and may have 4096", alice.user));
  EXPECT_EQ(keys.refusal(KeyName::of_group("g0"), alice), std::nullopt) << "it is there";
  EXPECT_EQ(keys.refusal(name_, bob), std::nullopt);
  EXPECT_EQ(keys.refusal(name_, own_user()), std::nullopt);
}

class SecretsTest : public Ring {
 protected:
  auto open(bool make_anew = false) const { return open_secrets(registry_, paths(), {.secrets = make_anew}); }
  fs::path secret(const SecretFile& which) const { return paths().state / which.name; }
};

TEST_F(SecretsTest, AreMadeOnceAndAreTwo) {
  const auto first = open();
  ASSERT_TRUE(first);
  EXPECT_NE(first->platform, first->wrap.bytes);
  const auto again = open();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->platform, first->platform);
  EXPECT_EQ(again->wrap, first->wrap);
  EXPECT_THAT(open(true).error(), HasSubstr("platform-secret: it is there"));
}

TEST_F(SecretsTest, OneThatIsMissingBesideKeysIsRefused) {
  const auto first = open();
  ASSERT_TRUE(first);
  KeyRing keys(registry_, *first);
  ASSERT_TRUE(keys.power_on(name_, alice, "web"));
  for (const SecretFile& which : {platform_secret_file, wrap_secret_file}) {
    SCOPED_TRACE(which.name);
    const fs::path aside = secret(which).string() + ".kept";
    fs::rename(secret(which), aside);
    EXPECT_THAT(open().error(), HasSubstr("it is missing"));
    EXPECT_FALSE(fs::exists(secret(which)));
    const SecretsSeen seen = look_at_secrets(registry_.state(), paths(), true, true, {});
    EXPECT_EQ(seen.wrong.size(), 1u);
    fs::rename(aside, secret(which));
  }
  EXPECT_TRUE(fs::exists(file(name_)));
  // Asked for, what nobody can decrypt any more is in nobody's way.
  fs::remove(secret(wrap_secret_file));
  const auto anew = open(true);
  ASSERT_TRUE(anew);
  EXPECT_EQ(anew->platform, first->platform);
  EXPECT_NE(anew->wrap, first->wrap);
  EXPECT_FALSE(fs::exists(file(name_)));
  EXPECT_TRUE(fs::exists(paths().set_aside() / key_file(name_)));
}

TEST_F(SecretsTest, AStateOfBeforeThereWereKeysGetsItsWrapSecret) {
  const auto first = open();
  ASSERT_TRUE(first);
  ASSERT_TRUE(registry_.put(MachineRecord{}));
  fs::remove(secret(wrap_secret_file));
  const auto later = open();
  ASSERT_TRUE(later);
  EXPECT_EQ(later->platform, first->platform);
}

}  // namespace
}  // namespace cloister::tests::keys
