// The process that looks at disks: what it hands over, that it looks anew each time, what it says of disks that kill it
// or hold it up, what it cannot do, and that it ends with its connection.
#include "boot/reader.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "boot/reader_limits.hpp"
#include "host/packet.hpp"
#include "host/whole_file.hpp"
#include "plan/boot_files.hpp"
#include "sanitized.hpp"
#include "unit/boot/ext_images.hpp"

namespace cloister::boot {
namespace {

using ::testing::HasSubstr;
using tests::ExtImage;
using toolstack::ask_boot_reader;
using toolstack::BootFiles;

class BootReader : public testing::Test {
 protected:
  void SetUp() override {
    if (!tests::has_mke2fs()) GTEST_SKIP() << "no mke2fs";
  }
  void put(const std::vector<u8>& bytes) {
    std::ofstream(image_.path("disk"), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  Fd start() {
    const Fd disk(::open(image_.path("disk").c_str(), O_RDONLY | O_CLOEXEC));
    auto reader = start_boot_reader(disk, {.kernel = {}, .most_kernel = 64 << 20, .most_ramdisk = 64 << 20});
    EXPECT_TRUE(reader);
    return std::move(*reader);
  }
  static std::string text_of(const Fd& file) {
    const auto bytes = toolstack::read_within(file.get(), 64 << 20);
    return bytes ? std::string(bytes->begin(), bytes->end()) : bytes.error();
  }

  ExtImage image_;
};

TEST_F(BootReader, HandsOverWhatIsOnTheDiskEachTime) {
  const std::string large(20 << 20, 'r');
  image_.file("/boot/vmlinuz-6.1", "old").file("/boot/initrd.img-6.1", large);
  put(image_.make("-t ext4", "64M"));
  const Fd reader = start();
  const auto files = ask_boot_reader(reader.get());
  ASSERT_TRUE(files) << files.error();
  EXPECT_EQ(text_of(files->kernel), "old");
  EXPECT_TRUE(text_of(files->ramdisk) == large);
  EXPECT_EQ(files->kernel_path, "/boot/vmlinuz-6.1");
  EXPECT_EQ(files->cmdline, std::string("root=UUID=") + ExtImage::uuid + " ro");
  image_.file("/boot/vmlinuz-6.2", "new").file("/boot/initrd.img-6.2", "a");
  image_.file("/boot/grub/grub.cfg",
              "menuentry A {\nlinux /boot/vmlinuz-6.2 quiet\ninitrd /boot/initrd.img-6.2 /boot/initrd.img-6.2\n}\n");
  put(image_.make("-t ext4", "64M"));
  const auto next = ask_boot_reader(reader.get());
  ASSERT_TRUE(next) << next.error();
  EXPECT_EQ(text_of(next->kernel), "new");
  EXPECT_EQ(text_of(next->ramdisk), "aa");
  EXPECT_EQ(next->cmdline, "quiet");
}

TEST_F(BootReader, AnswersForWhatHasNoKernel) {
  put(image_.make());
  const Fd reader = start();
  for (int i = 0; i < 2; ++i) {
    const auto files = ask_boot_reader(reader.get());
    ASSERT_FALSE(files);
    EXPECT_EQ(files.error(), "no kernel in /boot, nor a menu of GRUB's, in its 1 ext file system");
  }
}

TEST_F(BootReader, TakesNoMoreMemoryThanItMay) {
  if (is_sanitized()) GTEST_SKIP() << "no limits";
  image_.file("/boot/vmlinuz-6.1", "k");
  auto bytes = image_.make("-t ext4 -O ^metadata_csum,^64bit,^resize_inode -b 1024");
  // 2^31 blocks, in groups of 256: so many descriptors that they take more than it has.
  const auto put_word = [&](std::size_t at, u32 value) {
    for (std::size_t i = 0; i < 4; ++i, value >>= 8) bytes[1024 + at + i] = static_cast<u8>(value);
  };
  put_word(4, 0x8000'0000);
  put_word(32, 256);
  put_word(36, 256);
  put(bytes);
  const Fd reader = start();
  const auto files = ask_boot_reader(reader.get());
  ASSERT_FALSE(files);
  EXPECT_THAT(files.error(), HasSubstr("the file system on the whole disk: "));
}

TEST_F(BootReader, EndsWithItsConnection) {
  put(image_.make());
  Fd reader = start();
  EXPECT_FALSE(ask_boot_reader(reader.get()));
  // It sees that nobody sends any more, and its own end is closed by its end.
  ASSERT_EQ(::shutdown(reader.get(), SHUT_WR), 0);
  pollfd wait{.fd = reader.get(), .events = POLLRDHUP, .revents = 0};
  EXPECT_EQ(::poll(&wait, 1, 20'000), 1);
}

/// What it may not do any more it dies of.
TEST(BootReaderLimits, LeaveNoWayOut) {
  if (is_sanitized()) GTEST_SKIP() << "no limits";
  const auto after = [](auto&& does) {
    if (!give_up_boot_privileges() || !enter_boot_limits(1)) ::_exit(1);
    does();
    ::_exit(0);
  };
  EXPECT_EXIT(after([] { ::open("/dev/null", O_RDONLY); }), testing::KilledBySignal(SIGSYS), "");
  EXPECT_EXIT(after([] { ::socket(AF_UNIX, SOCK_STREAM, 0); }), testing::KilledBySignal(SIGSYS), "");
  EXPECT_EXIT(after([] { ::pwrite(1, "", 1, 0); }), testing::KilledBySignal(SIGSYS), "");
  EXPECT_EXIT(after([] { ::execl("/bin/true", "true", nullptr); }), testing::KilledBySignal(SIGSYS), "");
  EXPECT_EXIT(after([] { ::kill(1, 0); }), testing::KilledBySignal(SIGSYS), "");
  EXPECT_EXIT(after([] {
                volatile unsigned long count = 0;
                while (true) count = count + 1;
              }),
              testing::KilledBySignal(SIGXCPU), "");
  EXPECT_EXIT(after([] {}), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace cloister::boot
