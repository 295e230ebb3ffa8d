// Disks of other formats, as qemu-nbd serves them: what a disk does, what a server that dies or stands still is to it,
// what is not served at all, and that nothing is left.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "boot/reader.hpp"
#include "host/disk_image.hpp"
#include "host/nbd_server.hpp"
#include "host/whole_file.hpp"
#include "hypervisor/devices/nbd_disk.hpp"
#include "plan/boot_files.hpp"
#include "unit/boot/ext_images.hpp"

namespace cloister::boot {
namespace {

using hypervisor::NbdDisk;
using ::testing::Each;
using ::testing::HasSubstr;
using tests::ExtImage;
using toolstack::DiskUse;

class ServedDisk : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/bin/qemu-nbd") || !std::filesystem::exists("/usr/bin/qemu-img"))
      GTEST_SKIP() << "no qemu-utils";
  }
  std::string path(const std::string& name) const { return image_.path(name).string(); }
  void qemu_img(const std::string& words) const {
    const std::string command = "cd '" + path("") + "' && /usr/bin/qemu-img " + words + " >/dev/null";
    ASSERT_EQ(::system(command.c_str()), 0) << command;
  }
  static std::vector<std::byte> pattern(std::size_t bytes, u8 seed) {
    std::vector<std::byte> filled(bytes);
    for (std::size_t i = 0; i < bytes; ++i) filled[i] = static_cast<std::byte>((i * 7 + i / 4096 + seed) & 0xff);
    return filled;
  }
  /// The error; empty: it is served, by the disk.
  std::string serve(const std::string& name, const std::string& format, bool read_only = false,
                    const std::vector<std::pair<std::string, std::string>>& backing = {}) {
    auto file = toolstack::open_disk(path(name), read_only ? DiskUse::read : DiskUse::write);
    if (!file) return file.error().message;
    if (auto locked = toolstack::lock_disk_soon(file->get(), read_only ? DiskUse::read : DiskUse::write); !locked)
      return locked.error().message;
    std::vector<toolstack::BackingImage> below;
    for (const auto& [its_format, its_name] : backing) {
      auto its_file = toolstack::open_disk(path(its_name), DiskUse::read);
      if (!its_file) return its_file.error().message;
      below.push_back({.file = std::move(*its_file), .format = its_format, .path = path(its_name)});
    }
    auto server = toolstack::serve_image(*file, format, read_only, path(name), below);
    if (!server) return server.error();
    auto connection = toolstack::receive_nbd_connection(*server);
    if (!connection) return connection.error();
    auto disk = NbdDisk::create(std::move(*connection), std::move(*server), read_only);
    if (!disk) return disk.error();
    disk_ = std::move(*disk);
    return "";
  }
  /// The processes qemu-nbd that have this image open.
  std::vector<pid_t> servers(const std::string& name) const {
    std::vector<pid_t> found;
    std::error_code error;
    for (const auto& process : std::filesystem::directory_iterator("/proc")) {
      const auto program = std::filesystem::read_symlink(process.path() / "exe", error);
      if (error || program.filename() != "qemu-nbd") continue;
      const auto image = std::filesystem::read_symlink(process.path() / "fd/4", error);
      if (!error && image == path(name)) found.push_back(std::stoi(process.path().filename().string()));
    }
    return found;
  }
  void wait_for_no_server(const std::string& name) const {
    for (int i = 0; i < 3000 && !servers(name).empty(); ++i) ::usleep(10'000);
    EXPECT_TRUE(servers(name).empty());
  }

  ExtImage image_;
  std::shared_ptr<NbdDisk> disk_;
};

TEST_F(ServedDisk, OfEachFormatKeepsWhatWasWritten) {
  constexpr u64 mib = 1 << 20;
  for (const std::string format : {"qcow2", "vmdk", "vhdx", "vdi"}) {
    qemu_img("create -q -f " + format + " disk 64M");
    ASSERT_EQ(serve("disk", format), "") << format;
    EXPECT_EQ(disk_->bytes(), 64 * mib);
    const auto large = pattern(33 * mib, 1), small = pattern(512, 2);  // more than the protocol has in one
    EXPECT_TRUE(disk_->write(3 * mib, large));
    EXPECT_TRUE(disk_->write(512, small));
    EXPECT_TRUE(disk_->write_zeroes(10 * mib, mib, false));
    EXPECT_TRUE(disk_->write_zeroes(12 * mib, mib, true));
    EXPECT_TRUE(disk_->discard(14 * mib, mib));
    EXPECT_TRUE(disk_->flush());
    std::vector<std::byte> read(33 * mib);
    EXPECT_TRUE(disk_->read(3 * mib, read));
    EXPECT_TRUE(std::equal(read.begin(), read.begin() + 7 * mib, large.begin()));
    EXPECT_THAT(std::span(read).subspan(7 * mib, 4096), Each(std::byte{0}));
    EXPECT_THAT(std::span(read).subspan(9 * mib, 4096), Each(std::byte{0}));
    // What is flushed survives the server's end.
    for (const pid_t server : servers("disk")) ::kill(server, SIGKILL);
    EXPECT_FALSE(disk_->read(0, std::span(read).first(512)));
    EXPECT_FALSE(disk_->flush());
    EXPECT_FALSE(disk_->discard(0, 512));
    disk_.reset();
    ASSERT_EQ(serve("disk", format, true), "") << format;
    EXPECT_TRUE(disk_->read(512, std::span(read).first(512)));
    EXPECT_TRUE(std::equal(small.begin(), small.end(), read.begin()));
    EXPECT_TRUE(disk_->read(20 * mib, std::span(read).first(mib)));
    EXPECT_TRUE(std::equal(read.begin(), read.begin() + mib, large.begin() + 17 * mib));
    EXPECT_FALSE(disk_->write(0, small)) << "it is there to be read";
    disk_.reset();
    wait_for_no_server("disk");
  }
}

TEST_F(ServedDisk, IsLockedAsLongAsItIsServed) {
  qemu_img("create -q -f qcow2 disk 1M");
  ASSERT_EQ(serve("disk", "qcow2"), "");
  const auto held = std::move(disk_);
  EXPECT_EQ(serve("disk", "qcow2"), "somebody else uses it");
  EXPECT_EQ(serve("disk", "qcow2", true), "somebody else uses it");
}

TEST_F(ServedDisk, EndsThoughNobodyTookItsConnection) {
  qemu_img("create -q -f qcow2 disk 1M");
  {
    const auto file = toolstack::open_disk(path("disk"), DiskUse::write);
    ASSERT_TRUE(file);
    const auto server = toolstack::serve_image(*file, "qcow2", false);
    ASSERT_TRUE(server) << server.error();
    EXPECT_EQ(servers("disk").size(), 1u);
  }
  wait_for_no_server("disk");
}

TEST_F(ServedDisk, NoOtherFileComesWithIt) {
  qemu_img("create -q -f raw secret 1M");
  qemu_img("create -q -f qcow2 -b secret -F raw backed");
  qemu_img("create -q -f qcow2 -o data_file=data,data_file_raw=on split 1M");
  qemu_img("create -q -f vmdk -o subformat=monolithicFlat flat 1M");
  qemu_img("create -q -f vmdk base 1M");
  qemu_img("create -q -f vmdk -b base -F vmdk child");
  EXPECT_THAT(serve("backed", "qcow2"), HasSubstr("its header names another file"));
  EXPECT_THAT(serve("split", "qcow2"), HasSubstr("its header names another file"));
  EXPECT_THAT(serve("child", "vmdk"), HasSubstr("its header names another file"));
  EXPECT_THAT(serve("flat", "vmdk"), HasSubstr("too short"));
}

TEST_F(ServedDisk, ABackingFileComesIfItIsSaid) {
  constexpr u64 mib = 1 << 20;
  qemu_img("create -q -f raw base 4M");
  qemu_img("create -q -f raw other 4M");
  const auto data = pattern(mib, 3), own = pattern(512, 4);
  {
    ASSERT_EQ(::truncate(path("base").c_str(), 4 * mib), 0);
    std::ofstream file(path("base"), std::ios::binary | std::ios::in);
    file.seekp(mib).write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  }
  qemu_img("create -q -f qcow2 -b base -F raw middle");
  qemu_img("create -q -f qcow2 -b '" + path("middle") + "' -F qcow2 top");
  ASSERT_EQ(serve("top", "qcow2", false, {{"qcow2", "middle"}, {"raw", "base"}}), "");
  std::vector<std::byte> read(mib);
  EXPECT_TRUE(disk_->read(mib, read));
  EXPECT_EQ(read, data);
  EXPECT_TRUE(disk_->write(mib, own));
  EXPECT_TRUE(disk_->flush());
  disk_.reset();
  wait_for_no_server("top");
  ASSERT_EQ(serve("middle", "qcow2", true, {{"raw", "base"}}), "") << "it is as it was";
  EXPECT_TRUE(disk_->read(mib, read));
  EXPECT_EQ(read, data);

  EXPECT_THAT(serve("top", "qcow2"), HasSubstr("its header names another file"));
  EXPECT_THAT(
      serve("top", "qcow2", false, {{"raw", "base"}}),
      AllOf(HasSubstr("its header names the backing file '" + path("middle")), HasSubstr("expected '" + path("base"))));
  EXPECT_THAT(serve("top", "qcow2", false, {{"qcow2", "middle"}}),
              AllOf(HasSubstr("its backing file"), HasSubstr("its header names another file")));
  EXPECT_THAT(serve("middle", "qcow2", true, {{"raw", "other"}}), HasSubstr("names the backing file 'base', expected"));
  // Its format is what was said: the base would be any bytes.
  EXPECT_THAT(serve("middle", "qcow2", true, {{"qcow2", "base"}}), HasSubstr("it is no qcow2 image"));
  qemu_img("create -q -f qcow2 whole 1M");
  EXPECT_THAT(serve("whole", "qcow2", true, {{"raw", "base"}}), HasSubstr("its header names no backing file"));
}

TEST_F(ServedDisk, ItsFormatIsWhatWasSaid) {
  qemu_img("create -q -f vdi disk 1M");
  EXPECT_EQ(serve("disk", "qcow2"), "it is no qcow2 image");
  EXPECT_THAT(serve("disk", "vhdx"), HasSubstr("qemu-nbd: "));
  image_.file("/boot/vmlinuz-1", "k");
  EXPECT_THAT(serve("root/boot/vmlinuz-1", "vdi"), HasSubstr("too short"));
}

/// A sparse one without a capacity, and in it a descriptor whose data are another file's (QEMU's block/vmdk.c takes
/// it).
TEST_F(ServedDisk, AVmdkWhoseDescriptorNamesAFileIsRefused) {
  std::string text("KDMV\1\0\0\0\3\0\0\0", 12);
  text.resize(512);
  text[20] = static_cast<char>(128);  // grain
  text[28] = 1, text[36] = 20;        // the descriptor's place
  text +=
      "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
      "RW 2 FLAT \"/usr/bin/qemu-nbd\" 0\nddb.adapterType = \"ide\"\n";
  text.resize(64 << 10);
  std::ofstream(path("disk"), std::ios::binary) << text;
  EXPECT_THAT(serve("disk", "vmdk", true), HasSubstr("names another file"));
}

TEST_F(ServedDisk, BySomebodyElseAtASocket) {
  qemu_img("create -q -f raw disk 1M");
  EXPECT_FALSE(toolstack::connect_nbd_server(path("socket")));
  ASSERT_EQ(::system(("/usr/bin/qemu-nbd --fork -f raw -k '" + path("socket") + "' '" + path("disk") + "'").c_str()),
            0);
  auto server = toolstack::connect_nbd_server(path("socket"));
  ASSERT_TRUE(server) << server.error();
  auto connection = toolstack::receive_nbd_connection(*server);
  ASSERT_TRUE(connection) << connection.error();
  auto disk = NbdDisk::create(std::move(*connection), std::move(*server), false);
  ASSERT_TRUE(disk) << disk.error();
  EXPECT_EQ((*disk)->bytes(), 1u << 20);
  const auto written = pattern(4096, 3);
  EXPECT_TRUE((*disk)->write(8192, written) && (*disk)->flush());
  std::vector<char> found(4096);
  std::ifstream(path("disk"), std::ios::binary).seekg(8192).read(found.data(), 4096);
  EXPECT_EQ(std::memcmp(found.data(), written.data(), 4096), 0);
  // It ends with its client.
  disk->reset();
  for (int i = 0; i < 3000 && std::filesystem::exists(path("socket")); ++i) ::usleep(10'000);
  EXPECT_FALSE(std::filesystem::exists(path("socket")));
}

TEST_F(ServedDisk, ABootloaderReadsIt) {
  if (!tests::has_mke2fs()) GTEST_SKIP() << "no mke2fs";
  image_.file("/boot/vmlinuz-6.1", "kernel").file("/boot/initrd.img-6.1", std::string(5 << 20, 'r'));
  image_.make("-t ext4", "32M");
  qemu_img("convert -f raw -O qcow2 image disk");
  const Fd disk(::open(path("disk").c_str(), O_RDONLY | O_CLOEXEC));
  const auto reader =
      start_boot_reader(disk, {.kernel = {}, .most_kernel = 64 << 20, .most_ramdisk = 64 << 20, .format = "qcow2"});
  ASSERT_TRUE(reader);
  // While it is written by somebody else, too.
  ASSERT_EQ(serve("disk", "qcow2"), "");
  for (int i = 0; i < 2; ++i) {
    const auto files = toolstack::ask_boot_reader(reader->get());
    ASSERT_TRUE(files) << files.error();
    const auto kernel = toolstack::read_within(files->kernel.get(), 1 << 20);
    ASSERT_TRUE(kernel);
    EXPECT_EQ(std::string(kernel->begin(), kernel->end()), "kernel");
    const auto ramdisk = toolstack::read_within(files->ramdisk.get(), 8 << 20);
    ASSERT_TRUE(ramdisk);
    EXPECT_EQ(ramdisk->size(), 5u << 20);
  }
}

}  // namespace
}  // namespace cloister::boot
