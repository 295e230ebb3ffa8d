// What a disk is started with: by its menu, by the versions of its kernels, by names that are asked for; wherever its
// file system is, and through whatever links. And disks of those who mean harm.
#include "boot/choice.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "unit/boot/bytes_disk.hpp"
#include "unit/boot/ext_images.hpp"

namespace cloister::boot {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using tests::BytesDisk;
using tests::ExtImage;

const Wanted anything{.kernel = {}, .most_kernel = 1 << 20, .most_ramdisk = 1 << 20};
const std::string by_uuid = std::string("root=UUID=") + ExtImage::uuid + " ro";

class BootChoice : public testing::Test {
 protected:
  void SetUp() override {
    if (!tests::has_mke2fs()) GTEST_SKIP() << "no mke2fs";
  }
  static std::string text_of(BytesDisk& disk, const Wanted& wanted = anything) {
    const auto choice = choose(disk, wanted);
    if (!choice) return choice.error();
    std::string text = choice->kernel;
    for (const std::string& ramdisk : choice->ramdisks) text += " + " + ramdisk;
    return text + " (" + choice->cmdline + ")";
  }
  static std::string text_of(const std::vector<u8>& bytes, const Wanted& wanted = anything) {
    BytesDisk disk(bytes);
    return text_of(disk, wanted);
  }
  static std::string contents(Choice& choice, const std::string& path) {
    const auto text = choice.files->text(path, 1 << 20);
    return text ? *text : text.error();
  }
  /// What Debian has without a menu.
  static void put_debian(ExtImage& image, const std::string& version) {
    image.file("/boot/vmlinuz-" + version, "kernel " + version)
        .file("/boot/initrd.img-" + version, "initrd " + version);
  }

  ExtImage image_;
};

TEST_F(BootChoice, TheNewestByItsVersion) {
  for (const char* version : {"6.1.0-9-cloud-amd64", "6.1.0-41-cloud-amd64", "6.1.0-10-cloud-amd64", "5.10.0-99-amd64"})
    put_debian(image_, version);
  for (const char* other : {"/boot/vmlinuz-6.1.0-42.dpkg-new", "/boot/vmlinuz-7.0.old", "/boot/vmlinuz-0-rescue-1",
                            "/boot/vmlinuz-", "/boot/vmlinuz-7.1"})  // the last one's ramdisk is not there yet
    image_.file(other, "no");
  BytesDisk disk(image_.make());
  EXPECT_EQ(text_of(disk),
            "/boot/vmlinuz-6.1.0-41-cloud-amd64 + /boot/initrd.img-6.1.0-41-cloud-amd64 (" + by_uuid + ")");
  auto choice = choose(disk, anything);
  ASSERT_TRUE(choice);
  EXPECT_EQ(contents(*choice, choice->kernel), "kernel 6.1.0-41-cloud-amd64");
}

TEST_F(BootChoice, WithoutARamdiskLinuxFindsTheRootByItsDevice) {
  image_.file("/boot/vmlinuz-6.1", "k");
  EXPECT_EQ(text_of(image_.make()), "/boot/vmlinuz-6.1 (root=/dev/vda ro)");
}

TEST_F(BootChoice, OlderIsWhatDebianSaysIsOlder) {
  const char* const versions[] = {"5.9", "5.10", "6.1~rc1", "6.1", "6.1.0-9", "6.1.0-10", "6.1.0-10a", "6.01.0-11"};
  for (std::size_t i = 0; i < std::size(versions); ++i) {
    for (std::size_t j = 0; j < std::size(versions); ++j)
      EXPECT_EQ(is_older(versions[i], versions[j]), i < j) << versions[i] << ' ' << versions[j];
  }
  EXPECT_TRUE(is_older("1.99999999999999999999999", "1.100000000000000000000000"));
}

TEST_F(BootChoice, TheMenuCountsBeforeVersions) {
  put_debian(image_, "6.1");
  put_debian(image_, "5.10");
  image_.file("/boot/grub/grub.cfg",
              "set default=\"${saved_entry}\"\nmenuentry A {\nlinux /boot/vmlinuz-5.10 root=UUID=a ro quiet\n"
              "initrd /boot/initrd.img-6.1 /boot/initrd.img-5.10\n}\nmenuentry B {\nlinux /boot/vmlinuz-6.1 b\n}\n");
  EXPECT_EQ(text_of(image_.make()),
            "/boot/vmlinuz-5.10 + /boot/initrd.img-6.1 + /boot/initrd.img-5.10 (root=UUID=a ro quiet)");
  Wanted second = anything;
  second.entry = 1;
  EXPECT_EQ(text_of(image_.make(), second), "/boot/vmlinuz-6.1 (b)");
  second.entry = 2;
  EXPECT_EQ(text_of(image_.make(), second), "its menu /boot/grub/grub.cfg has no entry 2");
  image_.file("/boot/grub/grubenv", "# GRUB Environment Block\nsaved_entry=B\n####");
  EXPECT_EQ(text_of(image_.make()), "/boot/vmlinuz-6.1 (b)");
  // A menu with nothing in it is none.
  image_.file("/boot/grub/grub.cfg", "blscfg\n");
  EXPECT_THAT(text_of(image_.make()), StartsWith("/boot/vmlinuz-6.1 + "));
}

TEST_F(BootChoice, WhatIsAskedFor) {
  put_debian(image_, "6.1");
  image_.file("/own/kernel", "k").file("/own/ramdisk", "r");
  Wanted wanted = anything;
  wanted.kernel = "/own/kernel";
  EXPECT_EQ(text_of(image_.make(), wanted), "/own/kernel (root=/dev/vda ro)");
  wanted.ramdisk = "/own/ramdisk";
  EXPECT_EQ(text_of(image_.make(), wanted), "/own/kernel + /own/ramdisk (" + by_uuid + ")");
  wanted.ramdisk = "/own/none";
  EXPECT_EQ(text_of(image_.make(), wanted), "its ramdisk /own/none: there is none");
  wanted.kernel = "/own/none";
  EXPECT_EQ(text_of(image_.make(), wanted), "no '/own/none' in its 1 ext file system");
}

TEST_F(BootChoice, InAPartitionOfEitherTable) {
  image_.file("/boot/vmlinuz-6.1", "k");
  for (const char* kind :
       {"-t ext4", "-t ext3", "-t ext2", "-t ext4 -b 4096", "-t ext4 -O ^64bit,^metadata_csum -b 1024"}) {
    const std::vector<u8> system = image_.make(kind);
    BytesDisk gpt(system.size() + (3 << 20)), mbr(gpt.contents());
    std::ranges::copy(system, gpt.contents().begin() + (1 << 20));
    mbr.contents() = gpt.contents();
    gpt.put_gpt(2, 128, 128);
    gpt.put_gpt_entry(1024, 34, 2047);  // as Debian's own images have: a boot loader's, and then the root
    gpt.put_gpt_entry(1024 + 14 * 128, 2048, 2047 + system.size() / 512);
    EXPECT_EQ(text_of(gpt), "/boot/vmlinuz-6.1 (root=/dev/vda15 ro)") << kind;
    mbr.put_mbr(0, 2, 0x83, 2048, static_cast<u32>(system.size() / 512));
    EXPECT_EQ(text_of(mbr), "/boot/vmlinuz-6.1 (root=/dev/vda3 ro)") << kind;
  }
}

TEST_F(BootChoice, ThroughLinksThatEndAtTheRoot) {
  put_debian(image_, "6.1");
  image_.link("/vmlinuz", "boot/vmlinuz-6.1").link("/initrd.img", "/boot/initrd.img-6.1");
  image_.link("/far", "../../../../vmlinuz").link("/b", "boot").link("/loop", "loop");
  image_.link("/one", "/two").link("/two", "one").link("/into", "/boot/../b/./../boot/vmlinuz-6.1");
  Wanted wanted = anything;
  const auto system = image_.make();
  for (const char* path : {"/vmlinuz", "/far", "/b/vmlinuz-6.1", "/into", "/../../vmlinuz"}) {
    wanted.kernel = path;
    wanted.ramdisk = "/initrd.img";
    BytesDisk disk(system);
    auto choice = choose(disk, wanted);
    ASSERT_TRUE(choice) << path << ": " << choice.error();
    EXPECT_EQ(contents(*choice, path), "kernel 6.1");
  }
  image_.file("/boot/grub/grub.cfg", "menuentry A {\nlinux /loop\n}\n");
  EXPECT_EQ(text_of(image_.make()), "its kernel /loop: too many links");
  image_.file("/boot/grub/grub.cfg", "menuentry A {\nlinux /one\n}\n");
  EXPECT_EQ(text_of(image_.make()), "its kernel /one: too many links");
  image_.file("/boot/grub/grub.cfg", "menuentry A {\nlinux /boot\n}\n");
  EXPECT_EQ(text_of(image_.make()), "its kernel /boot: not a regular file");
}

TEST_F(BootChoice, WhatIsTooLongIsRefusedBeforeItIsRead) {
  image_.file("/boot/vmlinuz-6.1", std::string(5000, 'k')).file("/boot/initrd.img-6.1", std::string(5000, 'r'));
  const auto system = image_.make();
  EXPECT_EQ(text_of(system, {.kernel = {}, .most_kernel = 4999, .most_ramdisk = 5000}),
            "its kernel /boot/vmlinuz-6.1: found 5000 bytes, expected 4999 at most");
  EXPECT_EQ(text_of(system, {.kernel = {}, .most_kernel = 5000, .most_ramdisk = 4999}),
            "its ramdisk /boot/initrd.img-6.1: found 5000 bytes, expected 4999 at most");
  image_.file("/boot/grub/grub.cfg", "menuentry A {\nlinux /boot/vmlinuz-6.1 " + std::string(2048, 'a') + "\n}\n");
  EXPECT_EQ(text_of(image_.make()), "its command line has 2048 bytes, expected 2047 at most");
}

TEST_F(BootChoice, WhatHasNoKernelSaysSo) {
  EXPECT_EQ(text_of(std::vector<u8>(1 << 20)),
            "no ext2, ext3 or ext4 file system on the whole disk, or in its 0 partitions");
  EXPECT_EQ(text_of(std::vector<u8>()), "no ext2, ext3 or ext4 file system on the whole disk, or in its 0 partitions");
  EXPECT_EQ(text_of(image_.make()), "no kernel in /boot, nor a menu of GRUB's, in its 1 ext file system");
  image_.file("/boot/grub/grub.cfg", "menuentry A {\nlinux /boot/vmlinuz-7\n}\n");
  EXPECT_EQ(text_of(image_.make()), "its kernel /boot/vmlinuz-7: there is none");
  image_.file("/boot/grub/grub.cfg", "menuentry A {\nfwsetup\n}\n");
  EXPECT_EQ(text_of(image_.make()), "its menu /boot/grub/grub.cfg: the entry 'A' starts no kernel");
}

/// Whatever is on it, something is said of it. (In a process of its own in earnest.)
TEST_F(BootChoice, DamagedOnesAreAnsweredFor) {
  put_debian(image_, "6.1");
  image_.file("/boot/grub/grub.cfg", "menuentry A {\nlinux /boot/vmlinuz-6.1\n}\n");
  std::mt19937 random(1);
  for (const char* kind : {"-t ext4", "-t ext4 -O ^metadata_csum"}) {
    const std::vector<u8> whole = image_.make(kind, "2M");
    for (int i = 0; i < 300; ++i) {
      std::vector<u8> damaged = whole;
      // Where superblock, group descriptors, inodes and folders are.
      for (int j = 0; j < 20; ++j) damaged[1024 + random() % (256 << 10)] = static_cast<u8>(random());
      if (i % 7 == 0) damaged.resize(random() % damaged.size());
      damaged.resize(std::max<std::size_t>(damaged.size(), 2048));
      damaged[1024 + 56] = 0x53;
      damaged[1024 + 57] = 0xef;
      EXPECT_THAT(text_of(damaged), Not(IsEmpty()));
    }
  }
}

}  // namespace
}  // namespace cloister::boot
