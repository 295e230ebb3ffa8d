// A guest that finds a disk on the PCI bus, drives it as virtio 1.2 says, and is saved in the middle of it; and the
// host's files behind disks.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "guests.hpp"
#include "hypervisor/devices/raw_disk.hpp"
#include "silicon/silicon.hpp"
#include "unit/platform/disk_in_memory.hpp"

// It prints the first byte of each of 40 sectors, adds one to it, writes the sector back, and flushes. Its disk is
// device 1, whose structures it moves below 4 GiB first.
asm(R"(
  .pushsection .rodata
  .code32

  .set device, 0xe0008000
  .set common, 0xd0000000
  .set notify, 0xd0003000
  .set table, 0x20000
  .set available, 0x21000
  .set used, 0x22000
  .set header, 0x23000
  .set status, 0x23010
  .set data, 0x24000

  .macro describe number, address, bytes, flags
    movl $\address, table + 16 * \number
    movl $\bytes, table + 16 * \number + 8
    movl $\flags + 0x10000 * (\number + 1), table + 16 * \number + 12
  .endm

  .global guest_disk_user, guest_disk_user_end
  .balign 16
guest_disk_user:
    mov $0x80000, %esp
    mov $0xcf8, %dx                     # what the ports say is what is in memory
    mov $0x80000800, %eax
    out %eax, %dx
    mov $0xcfc, %dx
    in %dx, %eax
    cmp device, %eax
    jne disk_user_failed
    cmp $0x10421af4, %eax
    jne disk_user_failed
    movl $0xd0000000, device + 0x20     # BAR 4
    movl $0, device + 0x24
    movw $6, device + 4                 # memory, bus master
    movb $0, common + 0x14
    movb $3, common + 0x14
    movl $1, common + 0x08
    movl $1, common + 0x0c              # VERSION_1
    movl $0, common + 0x08
    movl $0x200, common + 0x0c          # FLUSH
    movb $11, common + 0x14
    testb $8, common + 0x14
    jz disk_user_failed
    movw $0, common + 0x16
    movw $8, common + 0x18
    movl $table, common + 0x20
    movl $available, common + 0x28
    movl $used, common + 0x30
    movw $1, common + 0x1c
    movb $15, common + 0x14
    describe 0, header, 16, 1
    describe 1, data, 512, 3
    describe 2, status, 1, 2
    xor %ebx, %ebx
disk_user_sector:
    mov %ebx, header + 8
    movl $0, header
    movw $3, table + 16 + 12            # written by the device
    call disk_user_ask
    mov data, %al
    mov $0x3f8, %dx
    out %al, %dx
    incb data
    movl $1, header
    movw $1, table + 16 + 12
    call disk_user_ask
    inc %ebx
    cmp $40, %ebx
    jne disk_user_sector
    movl $4, header
    movw $2, table + 14                 # the chain goes from the header to the status
    call disk_user_ask
disk_user_end:
    mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx
1:  hlt
    jmp 1b
disk_user_failed:
    mov $'?', %al
    mov $0x3f8, %dx
    out %al, %dx
    jmp disk_user_end
disk_user_ask:
    movb $255, status
    incw available + 2
    movw $0, notify
2:  mov available + 2, %ax
    cmp used + 2, %ax
    jne 2b
    cmpb $0, status
    jne disk_user_failed
    ret
guest_disk_user_end:

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(disk_user)

using platform::virtio::DiskInMemory;
using Bytes = std::vector<u8>;
constexpr u64 sectors = 40, sector_bytes = 512;

/// One whose reads wait until they may.
class SlowDisk final : public platform::virtio::Storage {
 public:
  explicit SlowDisk(std::shared_ptr<Storage> behind) : behind_(std::move(behind)) {}
  u64 bytes() const override { return behind_->bytes(); }
  bool read(u64 offset, std::span<std::byte> to) override {
    ++begun;
    begun.notify_all();
    may.wait(false);
    return behind_->read(offset, to);
  }
  bool write(u64 offset, std::span<const std::byte> from) override { return behind_->write(offset, from); }
  bool flush() override { return behind_->flush(); }
  bool discard(u64 offset, u64 length) override { return behind_->discard(offset, length); }
  bool write_zeroes(u64 offset, u64 length, bool unmap) override {
    return behind_->write_zeroes(offset, length, unmap);
  }

  std::atomic<unsigned> begun = 0;
  std::atomic<bool> may = false;

 private:
  const std::shared_ptr<Storage> behind_;
};

class Disk : public testing::Test {
 protected:
  Disk() {
    for (u64 i = 0; i < sectors; ++i) disk_->data[i * sector_bytes] = static_cast<u8>('A' + i);
  }
  DomainSpec spec(vmx::ClockMode clock = vmx::ClockMode::deterministic) const {
    DomainSpec spec = spec_of(disk_user(), clock);
    EXPECT_TRUE(platform::add_pci(spec.map, 40));
    spec.disks.push_back({.storage = disk_, .id = "disk"});
    return spec;
  }
  Outcome run(Domain& domain, std::function<bool()> after_turns = {}) {
    RunOptions options;
    options.timeout = std::chrono::seconds(120);
    options.console_out = [this](std::span<const u8> bytes) { console_.append(bytes.begin(), bytes.end()); };
    options.after_turns = std::move(after_turns);
    return domain.run(options);
  }
  static std::string expected() {
    std::string text(sectors, 'A');
    std::iota(text.begin(), text.end(), 'A');
    return text;
  }

  std::shared_ptr<DiskInMemory> disk_ = std::make_shared<DiskInMemory>(sectors * sector_bytes);
  silicon::Package package_{silicon::Package::Config{}};
  std::string console_;
};

TEST_F(Disk, IsFoundReadAndWritten) {
  for (const auto clock : {vmx::ClockMode::deterministic, vmx::ClockMode::host}) {
    for (u64 i = 0; i < sectors; ++i) disk_->data[i * sector_bytes] = static_cast<u8>('A' + i);
    disk_->flushes = 0;
    console_.clear();
    const auto domain = Domain::create(package_, spec(clock), {});
    ASSERT_TRUE(domain) << domain.error();
    const Outcome outcome = run(**domain);
    EXPECT_EQ(outcome.ending, Ending::powered_off) << outcome.report;
    EXPECT_EQ(console_, expected());
    for (u64 i = 0; i < sectors; ++i) EXPECT_EQ(disk_->data[i * sector_bytes], 'B' + i);
    EXPECT_EQ(disk_->flushes, 1u);
  }
}

// The guest runs while its disk does not answer; who pauses it waits for what was begun, and then nothing begins.
TEST_F(Disk, ASlowOneStopsNoProcessor) {
  const auto slow = std::make_shared<SlowDisk>(disk_);
  DomainSpec with_slow = spec(vmx::ClockMode::host);
  with_slow.disks[0].storage = slow;
  const auto domain = Domain::create(package_, with_slow, {});
  ASSERT_TRUE(domain) << domain.error();
  RunCounts counts{};
  RunOptions options;
  options.timeout = std::chrono::seconds(120);
  options.counts = &counts;
  options.console_out = [this](std::span<const u8> bytes) { console_.append(bytes.begin(), bytes.end()); };
  Outcome outcome;
  std::jthread runner([&] { outcome = (*domain)->run(options); });
  slow->begun.wait(0);
  const u64 before = counts.instructions;
  while (counts.instructions < before + 1'000'000) std::this_thread::sleep_for(std::chrono::milliseconds(1));

  EXPECT_FALSE((*domain)->pause_within(std::chrono::milliseconds(10)));
  EXPECT_FALSE((*domain)->paused());
  const u64 then = counts.instructions;
  while (counts.instructions < then + 1'000'000) std::this_thread::sleep_for(std::chrono::milliseconds(1));

  std::atomic<bool> paused = false;
  std::jthread pauser([&] {
    (*domain)->pause();
    paused = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(paused) << "the disk is still at it";
  slow->may = true;
  slow->may.notify_all();
  pauser.join();
  const unsigned begun = slow->begun;
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(slow->begun, begun);
  (*domain)->unpause();
  runner.join();
  EXPECT_EQ(outcome.ending, Ending::powered_off) << outcome.report;
  EXPECT_EQ(console_, expected());
}

TEST_F(Disk, IsSavedWithTheDomain) {
  for (u64 at = 1; at < 30; at += 7) {
    for (u64 i = 0; i < sectors; ++i) disk_->data[i * sector_bytes] = static_cast<u8>('A' + i);
    console_.clear();
    const auto first = Domain::create(package_, spec(), {});
    ASSERT_TRUE(first) << first.error();
    Bytes saved;
    RunOptions options;
    options.timeout = std::chrono::seconds(120);
    options.turn_alone = 40;
    options.console_out = [this](std::span<const u8> bytes) { console_.append(bytes.begin(), bytes.end()); };
    options.after_turns = [&, round = u64{0}]() mutable {
      if (++round != at) return true;
      const auto done = (*first)->save([&saved](std::span<const u8> more) -> stream::Result<void> {
        saved.insert(saved.end(), more.begin(), more.end());
        return {};
      });
      EXPECT_TRUE(done) << done.error();
      return false;
    };
    (*first)->run(options);
    std::span<const u8> rest = saved;
    const auto source = [&rest](std::span<u8> to) -> stream::Result<std::size_t> {
      const std::size_t n = std::min(to.size(), rest.size());
      std::copy_n(rest.begin(), n, to.begin());
      rest = rest.subspan(n);
      return n;
    };
    const auto second = Domain::restore(package_, spec(), {}, source);
    ASSERT_TRUE(second) << second.error();
    EXPECT_EQ(run(**second).ending, Ending::powered_off);
    EXPECT_EQ(console_, expected()) << "saved after round " << at;

    DomainSpec without = spec_of(disk_user());
    rest = saved;
    EXPECT_FALSE(Domain::restore(package_, without, {}, source)) << "it has no disk";
    DomainSpec smaller = spec();
    smaller.disks[0].storage = std::make_shared<DiskInMemory>(sector_bytes);
    rest = saved;
    EXPECT_THAT(Domain::restore(package_, smaller, {}, source).error(),
                testing::HasSubstr("disk disk: found 512 bytes, expected 20480"));
    DomainSpec readable = spec();
    readable.disks[0].read_only = true;
    rest = saved;
    EXPECT_THAT(Domain::restore(package_, readable, {}, source).error(), testing::HasSubstr("cannot be written"));
  }
}

TEST_F(Disk, NeedsABus) {
  DomainSpec without = spec();
  without.map.pci.reset();
  EXPECT_EQ(Domain::create(package_, without, {}).error(), "a disk needs a PCI bus");
  DomainSpec many = spec();
  many.disks.resize(32, many.disks[0]);
  EXPECT_EQ(Domain::create(package_, many, {}).error(), "32 devices: a bus has places for 31");
}

/// A file without a name, of so many bytes.
Fd file_of(u64 bytes) {
  Fd file(::memfd_create("disk", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  return file;
}

TEST(RawDisk, IsAFileByteForByte) {
  Fd file = file_of(100'000);
  const int number = file.get();
  const auto disk = RawDisk::create(std::move(file));
  ASSERT_TRUE(disk) << disk.error();
  EXPECT_EQ((*disk)->bytes(), 99'840u) << "whole sectors";
  std::vector<std::byte> data(50'000, std::byte{0x5a}), back(50'000);
  EXPECT_TRUE((*disk)->write(8192, data));
  EXPECT_TRUE((*disk)->flush());
  EXPECT_TRUE((*disk)->read(8192, back));
  EXPECT_EQ(back, data);
  struct stat before {
  }, after{};
  ::fstat(number, &before);
  EXPECT_TRUE((*disk)->write_zeroes(8192, 4096, false));
  EXPECT_TRUE((*disk)->write_zeroes(12288, 4096, true));
  EXPECT_TRUE((*disk)->discard(16384, 8192));
  EXPECT_TRUE((*disk)->discard(16384, 0));
  EXPECT_TRUE((*disk)->read(8192, back));
  EXPECT_EQ(back[8191], std::byte{0});
  EXPECT_EQ(back[16384], std::byte{0x5a});
  ::fstat(number, &after);
  EXPECT_LT(after.st_blocks, before.st_blocks) << "what was discarded takes no place";
  EXPECT_EQ(after.st_size, 100'000);
}

/// A block device of the host's with sectors of 4 KiB, on a file without a name (linux/loop.h). It goes with its last
/// descriptor.
Fd loop_device(int file) {
  const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  for (int tries = 0; control && tries < 20; ++tries) {  // others take them, too
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) break;
    Fd device(::open(fmt::format("/dev/loop{}", number).c_str(), O_RDWR | O_CLOEXEC));
    loop_config config{};
    config.fd = static_cast<u32>(file);
    config.block_size = 4096;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (device && ::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return device;
    if (errno != EBUSY) break;
  }
  return {};
}

TEST(RawDisk, IsABlockDeviceWithItsOwnSectors) {
  const Fd file = file_of(100'000);
  Fd device = loop_device(file.get());
  if (!device) GTEST_SKIP() << "no loop device may be made here";
  const auto disk = RawDisk::create(std::move(device));
  ASSERT_TRUE(disk) << disk.error();
  EXPECT_EQ((*disk)->block_bytes(), 4096u);
  EXPECT_EQ((*disk)->bytes(), 98'304u) << "whole sectors";
  std::vector<std::byte> data(65'536, std::byte{0x5a}), back(65'536);
  EXPECT_TRUE((*disk)->write(8192, data));
  EXPECT_TRUE((*disk)->flush());
  std::vector<std::byte> behind(65'536);
  ASSERT_EQ(::pread(file.get(), behind.data(), behind.size(), 8192), 65'536);
  EXPECT_EQ(behind, data);
  EXPECT_TRUE((*disk)->write_zeroes(8192, 4096, false));
  EXPECT_TRUE((*disk)->write_zeroes(12'288, 4096, true));
  struct stat before {
  }, after{};
  ::fstat(file.get(), &before);
  EXPECT_TRUE((*disk)->discard(16'384, 32'768));
  EXPECT_TRUE((*disk)->discard(16'384, 0));
  ::fstat(file.get(), &after);
  EXPECT_LT(after.st_blocks, before.st_blocks) << "what was discarded takes no place";
  EXPECT_TRUE((*disk)->read(8192, back));
  EXPECT_EQ(back[0], std::byte{0});
  EXPECT_EQ(back[8191], std::byte{0});
  EXPECT_EQ(back[50'000], std::byte{0x5a});
}

TEST(RawDisk, SaysWhatCannotBeOne) {
  EXPECT_EQ(RawDisk::create(file_of(511)).error(), "found 511 bytes, expected a sector of 512 at least");
  EXPECT_EQ(RawDisk::create(Fd()).error(), "Bad file descriptor");
  const auto disk = RawDisk::create(Fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)));
  ASSERT_TRUE(disk) << disk.error();
  EXPECT_FALSE((*disk)->write(0, std::vector<std::byte>(512))) << "it is open for reading alone";
}

}  // namespace
}  // namespace cloister::hypervisor
