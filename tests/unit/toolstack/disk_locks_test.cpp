// What a domain's process does with the locks of its disks while it moves.
#include "vmm/disk_locks.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class Locks : public testing::Test {
 protected:
  /// Descriptors in a row, as a VMM is given them: a written disk and one that is read.
  static constexpr int first = 200;
  void open_at(int place) {
    for (int i = 0; i < 2; ++i) {
      const std::string path = folder_.write(i == 0 ? "a" : "b", std::string(4096, 'x'));
      const Fd file(::open(path.c_str(), (i == 0 ? O_RDWR : O_RDONLY) | O_CLOEXEC));
      ASSERT_EQ(::dup2(file.get(), place + i), place + i);
    }
  }
  void SetUp() override {
    open_at(first);
    open_at(first + 2);
    ASSERT_TRUE(lock_disk(first, DiskUse::write));
    ASSERT_TRUE(lock_disk(first + 1, DiskUse::read));
  }
  void TearDown() override {
    for (int fd = first; fd < first + 4; ++fd) ::close(fd);
  }

  std::vector<DiskConfig> configs_{{.path = "/a", .vdev = "xvda"}, {.path = "/b", .vdev = "xvdb", .read_only = true}};
  tests::Folder folder_;
};

TEST_F(Locks, GoFromTheSourceToTheTargetAndBack) {
  DiskLocks source(configs_, first), target(configs_, first + 2, true);
  EXPECT_TRUE(source.has());
  EXPECT_FALSE(target.has());
  EXPECT_EQ(target.take().error(), "its disk xvda: somebody else uses it");
  ASSERT_TRUE(source.give());
  EXPECT_FALSE(source.has());
  ASSERT_TRUE(target.take_soon());
  EXPECT_EQ(source.take().error(), "its disk xvda: somebody else uses it");
  ASSERT_TRUE(target.give());
  EXPECT_TRUE(source.take());
  EXPECT_TRUE(source.take()) << "what it has it keeps";
}

TEST_F(Locks, AreAllTakenOrNone) {
  DiskLocks source(configs_, first);
  ASSERT_TRUE(source.give());
  const Fd writer(::open(folder_.path("b").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(take_disk_locks(writer.get(), DiskUse::write));
  EXPECT_EQ(source.take().error(), "its disk xvdb: somebody else uses it");
  EXPECT_TRUE(take_disk_locks(first + 2, DiskUse::write)) << "it has kept the first one's";
}

TEST_F(Locks, MarkEachFileForWhoHasTheSame) {
  const DiskLocks locks(configs_, first);
  const auto marks = locks.marks();
  ASSERT_THAT(marks, SizeIs(2));
  for (int i = 0; i < 2; ++i) {
    const auto& one = marks[static_cast<std::size_t>(i)];
    ASSERT_TRUE(one.mark) << one.mark.error();
    EXPECT_EQ(one.mark->bytes, 4096u);
    EXPECT_EQ(has_mark(first + 2 + i, one.mark->byte), true);
    EXPECT_EQ(has_mark(first + 3 - i, one.mark->byte), false) << "that of another one's file";
  }
  EXPECT_THAT(locks.why_they_stay(), IsEmpty());
}

TEST_F(Locks, OfWhatIsNotRawAreWithWhoServesIt) {
  configs_[1].format = "qcow2";
  const DiskLocks locks(configs_, first);
  EXPECT_THAT(locks.why_they_stay(), HasSubstr("its disk xvdb: found qcow2, expected raw"));
  EXPECT_EQ(DiskLocks().why_they_stay(), "");
}

}  // namespace
}  // namespace cloister::toolstack
