// Folders that only their owner can change, and what is refused. As root also those of other users.
#include "host/own_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace cloister::toolstack {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr unsigned nobody = 65534;

class OwnFolder : public testing::Test {
 protected:
  OwnFolder() {
    std::string pattern = testing::TempDir() + "cloister-folder-XXXXXX";
    top_ = ::mkdtemp(pattern.data());
  }
  ~OwnFolder() override { fs::remove_all(top_); }
  fs::path make(const std::string& name, unsigned mode = 0755) const {
    fs::create_directories(top_ / name);
    EXPECT_EQ(::chmod((top_ / name).c_str(), mode), 0);
    return top_ / name;
  }
  static std::string refusal(const fs::path& path, Making making = Making::missing) {
    const auto folder = open_own_folder(path, making, 0700);
    EXPECT_FALSE(folder) << path;
    return folder ? "" : folder.error();
  }
  static unsigned mode_of(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
  }
  fs::path top_;
};

TEST_F(OwnFolder, IsMadeWhereItIsMissingAndLeftAsItIsWhereItIsThere) {
  ASSERT_TRUE(open_own_folder(top_ / "a/b/c", Making::missing, 0700));
  EXPECT_EQ(mode_of(top_ / "a/b/c"), 0700u);
  make("a/b/c", 0755);
  ASSERT_TRUE(open_own_folder(top_ / "a/b/../b/./c/", Making::missing, 0700));
  EXPECT_EQ(mode_of(top_ / "a/b/c"), 0755u);
  EXPECT_THAT(refusal(top_ / "a/x", Making::never), HasSubstr("a/x: No such file"));
  EXPECT_FALSE(fs::exists(top_ / "a/x"));
}

TEST_F(OwnFolder, OthersMustNotWriteIt) {
  for (const unsigned mode : {0777u, 0775u, 0757u, 01777u})
    EXPECT_THAT(refusal(make("open", mode)), HasSubstr("open: mode " + fmt::format("{:03o}", mode)));
}

TEST_F(OwnFolder, OthersMustNotSwapAPartOfItsPath) {
  make("open/mine");
  make("open", 0777);
  EXPECT_THAT(refusal(top_ / "open/mine"), HasSubstr("open: mode 777 without the sticky bit"));
  EXPECT_THAT(refusal(top_ / "open/new"), HasSubstr("open: mode 777"));
  EXPECT_FALSE(fs::exists(top_ / "open/new"));
  make("open", 01777);
  EXPECT_TRUE(open_own_folder(top_ / "open/mine", Making::never, 0));
  EXPECT_TRUE(open_own_folder(top_ / "open/new", Making::missing, 0700));
}

TEST_F(OwnFolder, LinksOfItsOwnerAreFollowedAndThoseBelowItAreNot) {
  make("real/run");
  fs::create_directory_symlink("real", top_ / "relative");
  fs::create_directory_symlink(top_ / "real", top_ / "absolute");
  fs::create_directory_symlink("loop", top_ / "loop");
  EXPECT_TRUE(open_own_folder(top_ / "relative/run", Making::never, 0));
  EXPECT_TRUE(open_own_folder(top_ / "absolute/run", Making::never, 0));
  EXPECT_THAT(refusal(top_ / "loop"), HasSubstr("too many links"));
  const auto run = open_own_folder(top_ / "real/run", Making::never, 0);
  ASSERT_TRUE(run);
  fs::create_directory_symlink(top_ / "real", top_ / "real/run/domains");
  const auto refused = open_own_subfolder(run->get(), "domains", Making::missing, 0700, "RUN");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("RUN/domains: not a folder, or a link"));
}

TEST_F(OwnFolder, OfAnotherUserItIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make another user's folder";
  const fs::path theirs = make("theirs");
  make("theirs/mine");
  ASSERT_EQ(::chown(theirs.c_str(), nobody, nobody), 0);
  EXPECT_THAT(refusal(theirs), HasSubstr("theirs: it is user 65534's, expected user 0's"));
  EXPECT_THAT(refusal(theirs / "mine"), HasSubstr("theirs: it is user 65534's, expected root's"));
  make("real");
  fs::create_directory_symlink("real", top_ / "link");
  ASSERT_EQ(::lchown((top_ / "link").c_str(), nobody, nobody), 0);
  EXPECT_THAT(refusal(top_ / "link"), HasSubstr("link: a link that user 65534 made"));
}

TEST_F(OwnFolder, OfRootIsTrustedAndOfAThirdUserIsNot) {
  const auto distrust = [](const fs::path& path) {
    const auto folder = open_trusted_folder(path);
    EXPECT_FALSE(folder) << path;
    return folder ? "" : folder.error();
  };
  EXPECT_TRUE(open_trusted_folder(make("ours", 0711)));
  EXPECT_THAT(distrust(top_ / "none"), HasSubstr("none: No such file"));
  EXPECT_THAT(distrust(make("open", 0777)), HasSubstr("open: mode 777"));
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make another user's folder";
  const fs::path theirs = make("theirs");
  ASSERT_EQ(::chown(theirs.c_str(), nobody, nobody), 0);
  EXPECT_THAT(distrust(theirs), HasSubstr("theirs: it is user 65534's, expected root's"));
  make("", 0755);
  ASSERT_EQ(::seteuid(nobody), 0);
  const bool of_theirs = open_trusted_folder(theirs).has_value(),
             of_root = open_trusted_folder(top_ / "ours").has_value();
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_TRUE(of_theirs && of_root);
}

TEST_F(OwnFolder, FilesAreReadWithoutFollowingLinksOrWaiting) {
  const auto folder = open_own_folder(top_, Making::never, 0);
  ASSERT_TRUE(folder);
  std::ofstream(top_ / "file") << "text";
  fs::create_symlink("file", top_ / "link");
  ASSERT_EQ(::mkfifo((top_ / "pipe").c_str(), 0600), 0);
  const auto file = read_own_file(folder->get(), "file");
  ASSERT_TRUE(file && *file);
  EXPECT_EQ((*file)->size(), 4u);
  const auto missing = read_own_file(folder->get(), "missing");
  EXPECT_TRUE(missing && !*missing);
  EXPECT_EQ(read_own_file(folder->get(), "link").error(), "a link");
  EXPECT_EQ(read_own_file(folder->get(), "pipe").error(), "not a regular file");
  EXPECT_EQ(*names_in(folder->get()), (std::vector<std::string>{"file", "link", "pipe"}));
}

TEST_F(OwnFolder, ALockHasOneHolderAndIsNoLink) {
  const auto folder = open_own_folder(top_, Making::never, 0);
  ASSERT_TRUE(folder);
  {
    const auto first = lock_in(folder->get(), "lock", top_, "taken");
    ASSERT_TRUE(first) << first.error();
    const auto second = lock_in(folder->get(), "lock", top_, "taken");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error(), (top_ / "lock").string() + ": taken");
  }
  EXPECT_TRUE(lock_in(folder->get(), "lock", top_, "taken"));
  std::ofstream(top_ / "file") << "text";
  fs::create_symlink("file", top_ / "link");
  EXPECT_FALSE(lock_in(folder->get(), "link", top_, "taken"));
}

}  // namespace
}  // namespace cloister::toolstack
