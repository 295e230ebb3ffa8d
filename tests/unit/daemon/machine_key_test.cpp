// The key by which a machine is known to others (machine_key.hpp): made once, and missed where it is lost.
#include "daemon/machine_key.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "host/own_folder.hpp"
#include "text/base64.hpp"
#include "text/hex.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;
using testing::HasSubstr;
namespace fs = std::filesystem;

class MachineKeyTest : public testing::Test {
 protected:
  MachineKeyTest() : state_(*open_own_folder(folder_.path(), Making::never, 0700)) {}
  auto open(bool make_anew = false) const { return open_machine_key(state_.get(), folder_.path(), make_anew); }
  std::string look(bool make_anew = false) {
    return look_at_machine_key(state_.get(), folder_.path(), make_anew, made_);
  }
  fs::path file(const char* name) const { return fs::path(folder_.path()) / name; }

  const Folder folder_;
  const Fd state_;
  bool made_ = false;
};

TEST_F(MachineKeyTest, IsMadeOnceForItsOwnerAlone) {
  EXPECT_EQ(look(), "");
  EXPECT_TRUE(made_);
  EXPECT_FALSE(fs::exists(file("machine-key"))) << "who looks makes nothing";
  const auto first = open();
  ASSERT_TRUE(first) << first.error();
  EXPECT_NE(first->seed, Secret{});
  EXPECT_EQ(open(), first);
  EXPECT_EQ(look(), "");
  EXPECT_FALSE(made_);
  struct stat status {};
  ASSERT_EQ(::stat(file("machine-key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  std::ifstream noted(file("machine-key.pub"));
  std::string line;
  std::getline(noted, line);
  EXPECT_EQ(line, to_text(first->public_key()));
  const Folder another;
  const Fd state = *open_own_folder(another.path(), Making::never, 0700);
  EXPECT_NE(open_machine_key(state.get(), another.path(), false)->public_key(), first->public_key());
}

TEST_F(MachineKeyTest, OneThatIsMissingIsRefused) {
  const auto first = open();
  ASSERT_TRUE(first);
  EXPECT_THAT(open(true).error(), HasSubstr("machine-key: it is there"));
  EXPECT_THAT(look(true), HasSubstr("machine-key: it is there"));
  fs::rename(file("machine-key"), file("kept"));
  for (const std::string& why : {open().error(), look()})
    EXPECT_THAT(why, testing::AllOf(HasSubstr("machine-key: it is missing"), HasSubstr("--new-machine-key")));
  EXPECT_FALSE(fs::exists(file("machine-key")));
  fs::rename(file("kept"), file("machine-key"));
  EXPECT_EQ(open(), first);
  // Its other half is noted anew, if it is the one that is missing.
  fs::remove(file("machine-key.pub"));
  EXPECT_EQ(open(), first);
  EXPECT_TRUE(fs::exists(file("machine-key.pub")));
  // Asked for, another one is made.
  fs::remove(file("machine-key"));
  EXPECT_EQ(look(true), "");
  const auto anew = open(true);
  ASSERT_TRUE(anew) << anew.error();
  EXPECT_NE(anew->public_key(), first->public_key());
  EXPECT_EQ(open(), anew);
}

TEST_F(MachineKeyTest, AnotherOneThanWasNotedIsRefused) {
  const auto first = open();
  ASSERT_TRUE(first);
  std::ofstream(file("machine-key"), std::ios::binary) << std::string(32, 'x');
  for (const std::string& why : {open().error(), look()})
    EXPECT_THAT(
        why, testing::AllOf(HasSubstr("machine-key: found the key ed25519:"), HasSubstr(to_text(first->public_key()))));
  std::ofstream(file("machine-key.pub")) << "nonsense\n";
  EXPECT_THAT(open().error(), HasSubstr("machine-key.pub: found 'nonsense', expected ed25519:BASE64"));
  fs::permissions(file("machine-key"), fs::perms::all);
  fs::remove(file("machine-key.pub"));
  EXPECT_THAT(open().error(), HasSubstr("others may have read the machine's key"));
}

/// RFC 8032, 7.1, test 3.
TEST(MachineKeys, SignAsTheStandardSays) {
  MachineKey key;
  ASSERT_TRUE(from_hex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", key.seed));
  EXPECT_EQ(in_hex(key.public_key().bytes), "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
  const std::array<u8, 2> text{0xaf, 0x82};
  Signature signature = key.sign(text);
  EXPECT_EQ(
      in_hex(signature),
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28"
      "dc027beceea1ec40a");
  EXPECT_TRUE(is_signed_by(key.public_key(), text, signature));
  EXPECT_FALSE(is_signed_by(MachineKey{{1}}.public_key(), text, signature));
  signature[0] ^= 1;
  EXPECT_FALSE(is_signed_by(key.public_key(), text, signature));
}

TEST(MachineKeys, HaveOneTextEach) {
  const PublicKey key = MachineKey{{1}}.public_key();
  const std::string text = to_text(key);
  EXPECT_EQ(text.size(), 52u);
  EXPECT_EQ(read_public_key(text), key);
  for (const std::string& wrong :
       {std::string(), std::string("ed25519:"), text.substr(1), text + "=", text.substr(0, text.size() - 1),
        "ED25519:" + text.substr(8), text + "\n", "ed25519:" + std::string(44, '=')})
    EXPECT_EQ(read_public_key(wrong), std::nullopt) << wrong;
  // The last digit but one has two bits that stand for nothing.
  std::string padded = "ed25519:" + std::string(43, 'A') + "=";
  EXPECT_TRUE(read_public_key(padded));
  padded[50] = 'B';
  EXPECT_EQ(read_public_key(padded), std::nullopt);
}

TEST(Base64, IsAsTheStandardSays) {
  for (const auto& [text, coded] :
       {std::pair{"", ""}, std::pair{"f", "Zg=="}, std::pair{"fo", "Zm8="}, std::pair{"foo", "Zm9v"},
        std::pair{"foob", "Zm9vYg=="}, std::pair{"fooba", "Zm9vYmE="}, std::pair{"foobar", "Zm9vYmFy"}}) {
    const std::string bytes = text;
    EXPECT_EQ(in_base64({reinterpret_cast<const u8*>(bytes.data()), bytes.size()}), coded);
    std::vector<u8> back(bytes.size());
    EXPECT_TRUE(from_base64(coded, back));
    EXPECT_EQ(std::string(back.begin(), back.end()), text);
  }
  std::array<u8, 1> one{};
  for (const char* wrong : {"Zh==", "Zg=", "Zg", "Zg=A", "=g==", "Z===", "Z-=="})
    EXPECT_FALSE(from_base64(wrong, one)) << wrong;
}

}  // namespace
}  // namespace cloister::tests
