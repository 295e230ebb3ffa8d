// Files of the commands: no more of any is read than an enclave, or what a person writes, can have.
#include "enclave/commands.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace cloister::enclave {
namespace {

using ::testing::HasSubstr;

TEST(Commands, FilesThatAreTooLongAreRefusedByTheirLength) {
  const std::string sparse = testing::TempDir() + "sparse-" + std::to_string(::getpid());
  { std::ofstream make(sparse); }
  std::filesystem::resize_file(sparse, u64{6} << 30);
  Arguments arguments{
      .program = sparse, .enclave = sparse, .signature = sparse, .key = sparse, .settings = {}, .set = {}};
  const std::string found = sparse + ": found 6442450944 bytes, which is longer than ";
  for (const auto command : {build, sign, inspect, verify}) EXPECT_EQ(command(arguments).error(), found + "2048 MiB");
  arguments.settings = sparse;
  for (const auto command : {build, sign}) EXPECT_EQ(command(arguments).error(), found + "1 MiB");
  std::filesystem::remove(sparse);
}

TEST(Commands, AFileWithoutEndIsRefused) {
  Arguments arguments;
  arguments.settings = "/dev/zero";
  EXPECT_THAT(build(arguments).error(), HasSubstr("/dev/zero: found "));
}

}  // namespace
}  // namespace cloister::enclave
