// load_pvh: what lies where in guest memory, against Xen's public header arch-x86/hvm/start_info.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel_files.hpp"
#include "platform/acpi.hpp"
#include "platform/pvh.hpp"

namespace cloister::platform {
namespace {

using namespace test;
using ::testing::HasSubstr;

constexpr u64 mib = u64{1} << 20;

// Guest RAM below 3 GiB, which refuses to be written outside of what the map calls RAM.
class Ram {
 public:
  explicit Ram(MemoryMap map) : map_(std::move(map)), bytes_(ram_backing(map_)[0].bytes) {}
  WriteMemory writer() {
    return [this](arch::Gpa at, std::span<const std::byte> data) {
      if (!is_ram(at.value, data.size())) return false;
      for (const auto& [base, end] : writes_) EXPECT_TRUE(at.value >= end || at.value + data.size() <= base);
      writes_.emplace_back(at.value, at.value + data.size());
      std::memcpy(bytes_.data() + at.value, data.data(), data.size());
      return true;
    };
  }
  bool is_ram(u64 at, u64 size) const {
    return std::any_of(map_.entries.begin(), map_.entries.end(), [&](const MapEntry& e) {
      return e.type == MapType::ram && at >= e.base.value && within(at - e.base.value, size, e.bytes);
    });
  }
  template <class T>
  T get(u64 at) const {
    return load<T>(bytes_, at);
  }
  std::span<const u8> bytes(u64 at, u64 n) const { return std::span(bytes_).subspan(at, n); }
  const MemoryMap& map() const { return map_; }

 private:
  MemoryMap map_;
  Bytes bytes_;
  std::vector<std::pair<u64, u64>> writes_;
};

constexpr arch::Gpa rsdp{acpi_base};

KernelImage kernel(const ElfShape& shape = {}) { return read_kernel(make_elf(shape)).value(); }

TEST(PlacePvh, FindsTheRoomThatLoadingTakes) {
  const KernelImage image = kernel();
  const MemoryMap map = make_memory_map(64 * mib, 0, 39).value();
  for (const u64 ramdisk : {u64{0}, u64{12345}, 16 * mib}) {
    Ram ram(map);
    const auto places = place_pvh(image, ramdisk, 5, map);
    ASSERT_TRUE(places) << places.error();
    const Bytes bytes(ramdisk);
    EXPECT_EQ(load_pvh({image, bytes, "quiet", map, rsdp}, ram.writer())->start_info, places->start_info);
  }
  EXPECT_THAT(place_pvh(image, 64 * mib, 5, map).error(), HasSubstr("ramdisk: 0x4000000 bytes do not fit"));
  EXPECT_THAT(place_pvh(image, 0, 2048, map).error(), HasSubstr("cmdline: 2048 bytes"));
}

TEST(LoadPvh, WritesStartInfoVersion1) {
  Ram ram(make_memory_map(64 * mib, 64 * mib, 39).value());
  const KernelImage image = kernel();
  const Bytes ramdisk(12345, u8{0xab});
  const auto boot = load_pvh({image, ramdisk, "console=ttyS0 quiet", ram.map(), rsdp}, ram.writer());
  ASSERT_TRUE(boot) << boot.error();
  EXPECT_EQ(boot->entry, 0x10'0010u);
  const u64 info = boot->start_info;
  EXPECT_EQ(ram.get<u32>(info), 0x336e'c578u);
  EXPECT_EQ(ram.get<u32>(info + 4), 1u);
  EXPECT_EQ(ram.get<u32>(info + 8), 0u);
  EXPECT_EQ(ram.get<u32>(info + 12), 1u);
  EXPECT_EQ(ram.get<u64>(info + 32), rsdp.value);

  const u64 module = ram.get<u64>(info + 16), cmdline = ram.get<u64>(info + 24);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(ram.bytes(cmdline, 20).data())), "console=ttyS0 quiet");
  const u64 at = ram.get<u64>(module);
  EXPECT_EQ(ram.get<u64>(module + 8), ramdisk.size());
  EXPECT_EQ(ram.get<u64>(module + 16), 0u);
  EXPECT_TRUE(std::equal(ramdisk.begin(), ramdisk.end(), ram.bytes(at, ramdisk.size()).begin()));
  EXPECT_EQ(at, 64 * mib - 0x4000);  // page aligned, as high as it goes

  const u64 map = ram.get<u64>(info + 40);
  ASSERT_EQ(ram.get<u32>(info + 48), ram.map().entries.size());
  EXPECT_EQ(ram.get<u32>(info + 52), 0u);
  for (u64 i = 0; i < ram.map().entries.size(); ++i) {
    const MapEntry& entry = ram.map().entries[i];
    EXPECT_EQ(ram.get<u64>(map + 24 * i), entry.base.value);
    EXPECT_EQ(ram.get<u64>(map + 24 * i + 8), entry.bytes);
    EXPECT_EQ(ram.get<u32>(map + 24 * i + 16), static_cast<u32>(entry.type));
    EXPECT_EQ(ram.get<u32>(map + 24 * i + 20), 0u);
  }
}

TEST(LoadPvh, PlacesTheKernelAndLeavesItsBssAlone) {
  Ram ram(make_memory_map(2 * mib, 0, 39).value());
  const KernelImage image = kernel();
  ASSERT_TRUE(load_pvh({image, {}, "", ram.map(), rsdp}, ram.writer()));
  for (u64 i = 0; i < 0x300; ++i) ASSERT_EQ(ram.get<u8>(0x10'0000 + i), text_byte(i));
  for (u64 i = 0x300; i < 0x2000; ++i) ASSERT_EQ(ram.get<u8>(0x10'0000 + i), 0);
}

TEST(LoadPvh, WithoutRamdiskThereIsNoModule) {
  Ram ram(make_memory_map(2 * mib, 0, 39).value());
  const KernelImage image = kernel();
  const auto boot = load_pvh({image, {}, "", ram.map(), rsdp}, ram.writer());
  ASSERT_TRUE(boot);
  EXPECT_EQ(ram.get<u32>(boot->start_info + 12), 0u);
  EXPECT_EQ(ram.get<u64>(boot->start_info + 16), 0u);
  EXPECT_EQ(ram.get<u8>(ram.get<u64>(boot->start_info + 24)), 0);
}

TEST(LoadPvh, NothingOverlapsAKernelInLowOrHighMemory) {  // Ram checks that writes are disjoint
  const Bytes ramdisk(64 << 10, u8{1});
  for (u64 at : {u64{0x1000}, u64{0x2000}, u64{0x9'e000}, 2 * mib - 0x2000, 2 * mib - 0x3000}) {
    Ram ram(make_memory_map(2 * mib, 0, 39).value());
    const KernelImage image = kernel({.load_at = at, .entry = at});
    const auto boot = load_pvh({image, ramdisk, "x", ram.map(), rsdp}, ram.writer());
    ASSERT_TRUE(boot) << boot.error();
    const u64 module = ram.get<u64>(ram.get<u64>(boot->start_info + 16));
    EXPECT_TRUE(module >= at + 0x2000 || module + ramdisk.size() <= at);
    EXPECT_TRUE(boot->start_info >= at + 0x2000 || boot->start_info < at);
  }
}

TEST(LoadPvh, KeepsTheRamdiskBelowTheHole) {
  // Written through a sink: the map has 8 GiB.
  const MemoryMap map = make_memory_map(8192 * mib, 0, 39).value();
  const KernelImage image = kernel();
  const Bytes ramdisk(0x5000, u8{1});
  u64 at = 0;
  ASSERT_TRUE(load_pvh({image, ramdisk, "", map, rsdp}, [&](arch::Gpa base, std::span<const std::byte> data) {
    if (data.size() == ramdisk.size()) at = base.value;
    return true;
  }));
  EXPECT_EQ(at, mmio_hole_base - 0x5000);
}

TEST(LoadPvh, SaysWhatDoesNotFit) {
  const MemoryMap map = make_memory_map(2 * mib, 0, 39).value();
  auto error = [&](const ElfShape& shape, u64 ramdisk_bytes, std::string cmdline, bool writable = true) {
    const KernelImage image = kernel(shape);
    const Bytes ramdisk(ramdisk_bytes);
    const auto boot = load_pvh({image, ramdisk, std::move(cmdline), map, rsdp},
                               [&](arch::Gpa, std::span<const std::byte>) { return writable; });
    return boot ? "" : boot.error();
  };
  EXPECT_EQ(error({}, 0x1000, "a"), "");
  EXPECT_THAT(error({.load_at = 0x20'0000, .entry = 0x20'0000}, 0, ""), HasSubstr("segment [0x200000, 0x202000) does"));
  EXPECT_THAT(error({.load_at = 0x9'f000, .entry = 0x9'f000}, 0, ""), HasSubstr("does not lie in the domain's RAM"));
  EXPECT_THAT(error({.load_at = acpi_base, .entry = acpi_base}, 0, ""), HasSubstr("does not lie in the domain's RAM"));
  EXPECT_THAT(error({}, 1 * mib, ""), HasSubstr("ramdisk: 0x100000 bytes do not fit"));
  EXPECT_EQ(error({}, 0, std::string(2047, 'x')), "");
  EXPECT_THAT(error({}, 0, std::string(2048, 'x')), HasSubstr("cmdline: 2048 bytes; the kernel takes 2047 at most"));
  EXPECT_THAT(error({}, 0, std::string(3, '\0')), HasSubstr("NUL"));
  EXPECT_THAT(error({}, 0, "", false), HasSubstr("kernel: guest memory [0x100000, 0x100300) cannot be written"));
}

}  // namespace
}  // namespace cloister::platform
