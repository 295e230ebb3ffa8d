// The platform's root secret: made once, kept private, never replaced.
#include "machine/platform_secret.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "host/files.hpp"

namespace cloister::toolstack {
namespace {

using testing::HasSubstr;

class PlatformSecretTest : public testing::Test {
 protected:
  PlatformSecretTest() {
    std::string pattern = testing::TempDir() + "cloister-secret-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~PlatformSecretTest() override { std::filesystem::remove_all(folder_); }
  std::string file() const { return std::string(folder_).append("/platform-secret"); }
  std::string folder_;
};

TEST_F(PlatformSecretTest, IsTheSameAtEveryStart) {
  const auto first = platform_secret(folder_);
  ASSERT_TRUE(first) << first.error();
  EXPECT_EQ(platform_secret(folder_), first);
  EXPECT_NE(*first, PlatformSecret{});
}

TEST_F(PlatformSecretTest, DiffersBetweenMachines) {
  const auto other = platform_secret(std::string(folder_).append("/other/deep"));
  ASSERT_TRUE(other) << other.error();
  EXPECT_NE(platform_secret(folder_), other);
}

TEST_F(PlatformSecretTest, OnlyItsOwnerReadsIt) {
  ASSERT_TRUE(platform_secret(folder_));
  struct stat status {};
  ASSERT_EQ(::stat(file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) EXPECT_EQ(entry.path(), file());
}

TEST_F(PlatformSecretTest, RefusesOneThatOthersMayRead) {
  ASSERT_TRUE(platform_secret(folder_));
  ASSERT_EQ(::chmod(file().c_str(), 0644), 0);
  const auto refused = platform_secret(folder_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("mode 644, expected 600"));
}

TEST_F(PlatformSecretTest, RefusesADamagedOneAndKeepsIt) {
  std::ofstream(file()) << "short";
  ASSERT_EQ(::chmod(file().c_str(), 0600), 0);
  const auto refused = platform_secret(folder_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("5 bytes, expected 32"));
  EXPECT_EQ(std::filesystem::file_size(file()), 5u);
}

TEST_F(PlatformSecretTest, IsNotMadeWhereItMustBeThereNorReplacedWhereItIs) {
  const Fd folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto missing = secret_in(folder.get(), folder_, platform_secret_file, MissingSecret::refuse);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error(), HasSubstr("it is missing"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  const auto made = secret_in(folder.get(), folder_, platform_secret_file, MissingSecret::must_be);
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ(secret_in(folder.get(), folder_, platform_secret_file, MissingSecret::refuse), made);
  EXPECT_FALSE(secret_in(folder.get(), folder_, platform_secret_file, MissingSecret::must_be));
  EXPECT_EQ(platform_secret(folder_), made);
}

TEST_F(PlatformSecretTest, AFolderOfItsUserKeepsItsModeAndNobodyElseMayWriteIt) {
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  ASSERT_TRUE(platform_secret(folder_));
  struct stat status {};
  ASSERT_EQ(::stat(folder_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0755u);
  ASSERT_EQ(::chmod(folder_.c_str(), 0777), 0);
  const auto refused = platform_secret(folder_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("mode 777"));
}

TEST_F(PlatformSecretTest, ALinkIsNoSecret) {
  ASSERT_TRUE(platform_secret(folder_));
  std::filesystem::rename(file(), folder_ + "/other");
  std::filesystem::create_symlink("other", file());
  EXPECT_FALSE(platform_secret(folder_));
}

TEST_F(PlatformSecretTest, NamesWhatItCannotWrite) {
  const auto refused = platform_secret("/proc/nowhere");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("/proc/nowhere"));
}

}  // namespace
}  // namespace cloister::toolstack
