// What saving RAM costs (hypervisor/saving/ram.hpp): as many pages are looked at as were ever written, however large
// the domain is.
#include <gtest/gtest.h>

#include "hypervisor/saving/ram.hpp"
#include "silicon/silicon.hpp"

namespace cloister::hypervisor {
namespace {

using arch::Gpa;
using arch::page_size;

/// Another memory, of which it counts what is read.
class Counted : public vmx::GuestMemory {
 public:
  explicit Counted(vmx::GuestMemory& behind) : behind_(behind) {}
  mutable u64 pages_read = 0;

  tl::expected<void, vmx::MapError> map_ram(Gpa base, u64 bytes) override { return behind_.map_ram(base, bytes); }
  tl::expected<void, vmx::MapError> map_epc(Gpa base, arch::Mfn first, u64 pages) override {
    return behind_.map_epc(base, first, pages);
  }
  tl::expected<void, vmx::MapError> reserve_epc(Gpa base, u64 pages) override {
    return behind_.reserve_epc(base, pages);
  }
  tl::expected<void, vmx::MapError> map_epc(Gpa page, arch::Mfn frame) override { return behind_.map_epc(page, frame); }
  std::optional<arch::Mfn> unmap_epc(Gpa page) override { return behind_.unmap_epc(page); }
  tl::expected<void, vmx::MapError> unmap(Gpa base, u64 bytes) override { return behind_.unmap(base, bytes); }
  void set_accessed_dirty(bool on) override { behind_.set_accessed_dirty(on); }
  std::vector<bool> take_accessed(Gpa base, u64 pages) override { return behind_.take_accessed(base, pages); }
  std::vector<bool> take_dirty(Gpa base, u64 pages) override { return behind_.take_dirty(base, pages); }
  std::vector<bool> written(Gpa base, u64 pages) const override { return behind_.written(base, pages); }
  bool read(Gpa from, std::span<std::byte> to) const override {
    pages_read += (to.size() + page_size - 1) / page_size;
    return behind_.read(from, to);
  }
  bool write(Gpa to, std::span<const std::byte> from) override { return behind_.write(to, from); }
  std::optional<u64> compare_exchange(Gpa at, unsigned bytes, u64 expected, u64 desired) override {
    return behind_.compare_exchange(at, bytes, expected, desired);
  }

 private:
  vmx::GuestMemory& behind_;
};

stream::Sink sink_to(std::vector<u8>& bytes) {
  return [&bytes](std::span<const u8> more) -> stream::Result<void> {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return {};
  };
}

TEST(SavedRam, CostsWhatWasEverWritten) {
  constexpr u64 gib = u64{1} << 30;
  const auto map = platform::make_memory_map(8 * gib, 0, 40).value();
  silicon::GuestMemory memory, again;
  for (const auto& range : platform::ram_backing(map)) {
    ASSERT_TRUE(memory.map_ram(range.base, range.bytes));
    ASSERT_TRUE(again.map_ram(range.base, range.bytes));
  }
  // One of zeros, which is written, and left out.
  const std::vector<u64> values{0x1111, 0, 0x3333};
  const std::vector<u64> places{0x5000, gib, 6 * gib + 0xff8};
  for (std::size_t i = 0; i < values.size(); ++i)
    ASSERT_TRUE(memory.write(Gpa{places[i]}, std::as_bytes(std::span(&values[i], 1))));
  // Also when somebody has taken the dirty log.
  memory.take_dirty(Gpa{0x5000}, 1);
  const Counted counted(memory);
  std::vector<u8> saved;
  stream::Writer writer(sink_to(saved));
  ASSERT_TRUE(save_ram(counted, map, writer) && writer.end());
  EXPECT_EQ(counted.pages_read, 3u);

  stream::Reader reader([rest = std::span<const u8>(saved)](std::span<u8> to) mutable -> stream::Result<std::size_t> {
    const std::size_t n = std::min(to.size(), rest.size());
    std::copy_n(rest.begin(), n, to.begin());
    rest = rest.subspan(n);
    return n;
  });
  u32 records = 0;
  for (;;) {
    const auto record = reader.next();
    ASSERT_TRUE(record);
    if (record->kind == stream::Kind::end) break;
    ASSERT_TRUE(load_ram(again, *record));
    ++records;
  }
  EXPECT_EQ(records, 2u);
  for (std::size_t i = 0; i < values.size(); ++i) {
    u64 value = ~u64{0};
    ASSERT_TRUE(again.read(Gpa{places[i]}, std::as_writable_bytes(std::span(&value, 1))));
    EXPECT_EQ(value, values[i]);
  }
}

}  // namespace
}  // namespace cloister::hypervisor
