// Disks are locked on the bytes on which QEMU's tools lock them, in both directions; and what `cloister run` says of
// those that it cannot have.
#include "host/disk_image.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>

#include "plan/images.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class DiskImage : public testing::Test {
 protected:
  DiskImage() { image_ = folder_.write("root.img", std::string(1 << 16, '\0')); }

  /// Empty: it was locked, and stays so as long as `to` is there.
  std::string lock(Fd& to, DiskUse use) const {
    auto fd = open_disk(image_, use);
    if (!fd) return fd.error().message;
    to = std::move(*fd);
    const auto locked = lock_disk(to.get(), use);
    return locked ? "" : locked.error().in_use;
  }
  /// Of `disk = …`, why a run would be refused; empty: it would not.
  std::string refusal(const std::string& disks) const {
    const std::string kernel = CLOISTER_BINARY_DIR "/guest/payload/resident.elf";
    const auto config = read_config("name = 'd'\nkernel = '" + kernel + "'\ndisk = " + disks + "\n");
    EXPECT_TRUE(config) << config.error().message;
    const auto images = read_images(config->config, true);
    return images ? "" : format("d.cfg", images.error());
  }

  tests::Folder folder_;
  std::string image_;
};

TEST_F(DiskImage, OneWritesOrSeveralRead) {
  Fd first, second, third;
  EXPECT_EQ(lock(first, DiskUse::write), "");
  const std::string identity = identity_of_disk(first.get());
  EXPECT_THAT(identity, HasSubstr("file "));
  EXPECT_EQ(lock(second, DiskUse::write), identity);
  EXPECT_EQ(lock(second, DiskUse::read), identity);
  second = Fd();
  first = Fd();
  EXPECT_EQ(lock(first, DiskUse::read), "");
  EXPECT_EQ(lock(second, DiskUse::read), "");
  EXPECT_EQ(lock(third, DiskUse::write), identity);
  third = Fd();
  first = Fd();
  second = Fd();
  EXPECT_EQ(lock(first, DiskUse::write), "");
}

TEST_F(DiskImage, ItsLocksGoWithItsDescriptors) {
  Fd first, second;
  ASSERT_EQ(lock(first, DiskUse::write), "");
  const Fd copy(::fcntl(first.get(), F_DUPFD_CLOEXEC, 0));
  first = Fd();
  EXPECT_NE(lock(second, DiskUse::write), "") << "a copy still has them";
}

/// As a domain's source gives them up, and its target takes them.
TEST_F(DiskImage, LocksAreGivenAndTakenWithoutClosingIt) {
  Fd first, second;
  ASSERT_EQ(lock(first, DiskUse::write), "");
  second = Fd(::open(image_.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_FALSE(take_disk_locks(second.get(), DiskUse::write));
  give_disk_locks(first.get());
  EXPECT_TRUE(take_disk_locks(second.get(), DiskUse::write));
  EXPECT_EQ(take_disk_locks(first.get(), DiskUse::write).error(), "somebody else uses it");
  EXPECT_EQ(take_disk_locks(first.get(), DiskUse::read).error(), "somebody else uses it");
  give_disk_locks(second.get());
  EXPECT_TRUE(take_disk_locks(first.get(), DiskUse::write)) << "who could not have all of them has none";
}

TEST_F(DiskImage, AMarkIsSeenByWhoHasTheSameFile) {
  const auto other = folder_.write("other.img", std::string(1 << 16, '\0'));
  const Fd holder(::open(image_.c_str(), O_RDONLY | O_CLOEXEC)), looker(::open(image_.c_str(), O_RDWR | O_CLOEXEC)),
      elsewhere(::open(other.c_str(), O_RDWR | O_CLOEXEC));
  for (const u64 chance : {u64{0}, u64{7}, ~u64{0}}) {
    const auto byte = mark_disk(holder.get(), chance);
    ASSERT_TRUE(byte) << byte.error();
    EXPECT_GE(*byte, first_mark);
    EXPECT_LE(*byte, last_mark);
    EXPECT_EQ(has_mark(looker.get(), *byte), true);
    EXPECT_EQ(has_mark(looker.get(), *byte + 1), false);
    EXPECT_EQ(has_mark(elsewhere.get(), *byte), false);
    EXPECT_EQ(has_mark(holder.get(), *byte), false) << "one's own is nobody else's";
  }
  Fd locks;
  EXPECT_EQ(lock(locks, DiskUse::write), "") << "a mark keeps nobody out";
  EXPECT_EQ(has_mark(looker.get(), 101), false) << "locks of its use are no mark";
  struct flock whole {};
  whole.l_type = F_RDLCK;
  ASSERT_EQ(::fcntl(elsewhere.get(), F_OFD_SETLK, &whole), 0);
  const Fd beside(::open(other.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_EQ(has_mark(beside.get(), first_mark + 9), false) << "nor is one of all of it";
}

TEST_F(DiskImage, IsAFileOrABlockDevice) {
  const auto error = [](const std::string& path) {
    const auto fd = open_disk(path, DiskUse::read);
    return fd ? "" : fd.error().message;
  };
  ASSERT_EQ(::mkfifo(folder_.path("fifo").c_str(), 0600), 0);
  for (const std::string& path : {folder_.path(""), folder_.path("fifo"), std::string("/dev/null")})
    EXPECT_EQ(error(path), "neither a regular file nor a block device") << path;
  EXPECT_EQ(error(folder_.path("none")), "No such file or directory");
}

int tool(const std::string& name, const std::string& arguments) {
  return std::system((name + " " + arguments + " >/dev/null 2>&1").c_str());
}

// In both directions. What QEMU's tools only read as raw they let others write.
TEST_F(DiskImage, QemuAndWeKeepEachOtherOut) {
  if (tool("qemu-io", "--version") != 0) GTEST_SKIP() << "there is no qemu-io (Debian's qemu-utils)";
  const auto writes = [&] { return tool("qemu-io", "-f raw -c 'write 0 512' " + image_) == 0; };
  const auto reads = [&] { return tool("qemu-io", "-r -f raw -c 'read 0 512' " + image_) == 0; };
  Fd ours;
  EXPECT_TRUE(reads() && writes());
  ASSERT_EQ(lock(ours, DiskUse::write), "");
  EXPECT_FALSE(writes());
  ours = Fd();
  ASSERT_EQ(lock(ours, DiskUse::read), "");
  EXPECT_TRUE(reads());
  EXPECT_FALSE(writes());
  ours = Fd();

  // qemu-io has it open as long as its standard input is.
  FILE* const other = ::popen(("qemu-io -f raw " + image_ + " >/dev/null 2>&1").c_str(), "w");
  const auto is_ours = [&](DiskUse use) {
    Fd fd;
    return lock(fd, use).empty();
  };
  for (int i = 0; i < 1000 && is_ours(DiskUse::write); ++i) ::usleep(10'000);
  EXPECT_FALSE(is_ours(DiskUse::write));
  EXPECT_FALSE(is_ours(DiskUse::read));
  ::pclose(other);
  EXPECT_TRUE(is_ours(DiskUse::write));
}

TEST_F(DiskImage, ARunSaysWhatItCannotHave) {
  EXPECT_EQ(refusal("['" + image_ + ",raw,xvda,rw']"), "");
  EXPECT_THAT(refusal("['" + folder_.path("none") + ",raw,xvda,rw']"),
              AllOf(HasSubstr("d.cfg:3:9: cannot use disk '"), HasSubstr("none': No such file or directory")));
  folder_.write("small.img", "x");
  EXPECT_THAT(refusal("['" + folder_.path("small.img") + ",raw,xvda,rw']"),
              HasSubstr("found 1 bytes, expected a sector of 512 at least"));
  EXPECT_THAT(refusal("['" + image_ + ",raw,xvda,rw', '" + image_ + ",raw,xvdb,ro']"),
              AllOf(HasSubstr("d.cfg:3:"), HasSubstr("it is the domain's disk xvda, too")));
  EXPECT_EQ(refusal("['" + image_ + ",raw,xvda,ro', '" + image_ + ",raw,xvdb,ro']"), "") << "both read";
  Fd other;
  ASSERT_EQ(lock(other, DiskUse::read), "");
  EXPECT_EQ(refusal("['" + image_ + ",raw,xvda,ro']"), "");
  EXPECT_THAT(refusal("['" + image_ + ",raw,xvda,rw']"), HasSubstr("another program uses it: `fuser -v " + image_));
}

}  // namespace
}  // namespace cloister::toolstack
