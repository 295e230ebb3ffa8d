// Guest memory: slots, the devices' door, and what processors see of both (vmx/memory.hpp).
#include "guest.hpp"

namespace cloister::vmx {
namespace {

using arch::page_size;

class Memory : public Door {
 protected:
  std::optional<MapError> map(u64 base, u64 bytes) { return error_of(memory_->map_ram(Gpa{base}, bytes)); }
  std::optional<MapError> unmap(u64 base, u64 bytes) { return error_of(memory_->unmap(Gpa{base}, bytes)); }
  static std::optional<MapError> error_of(const tl::expected<void, MapError>& result) {
    return result ? std::nullopt : std::optional(result.error());
  }
  bool is_ram(u64 at) {
    std::byte b{};
    return memory_->read(Gpa{at}, {&b, 1});
  }
  bool write(u64 at, std::vector<u8> bytes) { return memory_->write(Gpa{at}, std::as_bytes(std::span(bytes))); }
  std::optional<std::vector<u8>> read(u64 at, std::size_t n) {
    std::vector<u8> bytes(n, 0xee);
    if (!memory_->read(Gpa{at}, std::as_writable_bytes(std::span(bytes)))) return std::nullopt;
    return bytes;
  }

  std::unique_ptr<Package> package_ = backend().make_package({.epc = {{Mfn{0x500}, 4}}});
  std::unique_ptr<GuestMemory> memory_ = package_->make_memory();
};

TEST_P(Memory, IsZeroAtFirst) {
  EXPECT_FALSE(is_ram(0x4000));
  ASSERT_EQ(map(0x4000, 2 * page_size), std::nullopt);
  EXPECT_EQ(read(0x4000, 2 * page_size), std::vector<u8>(2 * page_size, 0));
  EXPECT_FALSE(is_ram(0x3fff));
  EXPECT_FALSE(is_ram(0x6000));
}

TEST_P(Memory, IsMappedInPages) {
  EXPECT_EQ(map(0x4001, page_size), MapError::misaligned);
  EXPECT_EQ(map(0x4000, page_size - 1), MapError::misaligned);
  EXPECT_TRUE(map(0x4000, 0));
  EXPECT_TRUE(map(~u64{0} << 12, 2 * page_size)) << "beyond the last address";
  EXPECT_EQ(map(0, u64{1} << 62), MapError::no_memory);
  EXPECT_EQ(unmap(1, page_size), MapError::misaligned);
  EXPECT_EQ(unmap(0, 1), MapError::misaligned);
  EXPECT_FALSE(is_ram(0x4000));
}

TEST_P(Memory, DoesNotOverlap) {
  ASSERT_EQ(map(0x10000, 4 * page_size), std::nullopt);
  ASSERT_TRUE(write(0x10000, {7}));
  for (const auto& [base, pages] :
       {std::pair{0x10000u, 4u}, {0x10000u, 1u}, {0x11000u, 1u}, {0x13000u, 2u}, {0xf000u, 2u}, {0xf000u, 8u}}) {
    EXPECT_EQ(map(base, pages * page_size), MapError::overlap) << std::hex << base;
    EXPECT_EQ(error_of(memory_->map_epc(Gpa{base}, Mfn{0x500}, pages)), MapError::overlap) << std::hex << base;
  }
  EXPECT_FALSE(is_ram(0xf000)) << "nothing of what is refused";
  EXPECT_EQ(read(0x10000, 1), std::vector<u8>{7});
  EXPECT_EQ(map(0xf000, page_size), std::nullopt) << "up to it";
  EXPECT_EQ(map(0x14000, page_size), std::nullopt) << "behind it";
}

TEST_P(Memory, IsReadAndWrittenAcrossSlots) {
  ASSERT_EQ(map(0x1000, page_size), std::nullopt);
  ASSERT_EQ(map(0x2000, page_size), std::nullopt);
  ASSERT_TRUE(write(0x1ffe, {1, 2, 3, 4}));
  EXPECT_EQ(read(0x1ffd, 6), (std::vector<u8>{0, 1, 2, 3, 4, 0}));
}

TEST_P(Memory, WritesAllOrNothing) {
  ASSERT_EQ(map(0x1000, page_size), std::nullopt);
  for (const u64 at : {u64{0x1ffe}, u64{0xffe}}) {
    EXPECT_FALSE(write(at, {1, 2, 3, 4}));
    EXPECT_EQ(read(at, 4), std::nullopt);
  }
  EXPECT_FALSE(write(~u64{1}, {1, 2, 3, 4})) << "beyond the last address";
  EXPECT_EQ(read(0x1000, page_size), std::vector<u8>(page_size, 0));
}

TEST_P(Memory, ComparesAndExchanges) {
  ASSERT_EQ(map(0x1000, page_size), std::nullopt);
  ASSERT_TRUE(write(0x1008, {1, 2, 3, 4, 5, 6, 7, 8}));
  const auto exchange = [&](u64 at, unsigned bytes, u64 expected, u64 desired) {
    return memory_->compare_exchange(Gpa{at}, bytes, expected, desired);
  };
  constexpr u64 all = 0x0807'0605'0403'0201, low = 0x0403'0201, high = 0x0807'0605;
  EXPECT_EQ(exchange(0x1008, 8, all + 1, 0), all) << "another value is there";
  EXPECT_EQ(exchange(0x1008, 4, low, 0xaaaa'aaaa), low);
  EXPECT_EQ(exchange(0x100c, 4, 0, 0xbbbb'bbbb), high) << "another value is there";
  EXPECT_EQ(exchange(0x1008, 8, (high << 32) | 0xaaaa'aaaa, 0x11), (high << 32) | 0xaaaa'aaaa);
  EXPECT_EQ(read(0x1008, 8), (std::vector<u8>{0x11, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(exchange(0x100c, 8, 0, 1), std::nullopt) << "not aligned";
  EXPECT_EQ(exchange(0x100a, 4, 0, 1), std::nullopt) << "not aligned";
  for (const unsigned bytes : {0u, 1u, 2u, 16u}) EXPECT_EQ(exchange(0x1010, bytes, 0, 1), std::nullopt) << bytes;
  EXPECT_EQ(exchange(0x2000, 8, 0, 1), std::nullopt) << "not RAM";
  EXPECT_EQ(read(0x1010, 16), std::vector<u8>(16, 0));
}

TEST_P(Memory, IsUnmappedByWholeSlots) {
  ASSERT_EQ(map(0x10000, 2 * page_size), std::nullopt);
  ASSERT_EQ(map(0x12000, 2 * page_size), std::nullopt);
  ASSERT_TRUE(write(0x10000, {1}));
  for (const auto& [base, pages] : {std::pair{0x10000u, 1u}, {0x11000u, 1u}, {0x10000u, 3u}, {0x11000u, 3u}}) {
    EXPECT_EQ(unmap(base, pages * page_size), MapError::partial) << std::hex << base;
  }
  EXPECT_TRUE(is_ram(0x10000) && is_ram(0x13fff)) << "nothing of what is refused";
  EXPECT_EQ(unmap(0x14000, page_size), std::nullopt) << "nothing is there";
  EXPECT_EQ(unmap(0xf000, 3 * page_size), std::nullopt) << "more than the slot";
  EXPECT_FALSE(is_ram(0x10000) || is_ram(0x11fff));
  EXPECT_TRUE(is_ram(0x12000));
  ASSERT_EQ(map(0x10000, page_size), std::nullopt);
  EXPECT_EQ(read(0x10000, 1), std::vector<u8>{0}) << "fresh";
}

TEST_P(Memory, OfEpcIsNotTheDevices) {
  ASSERT_TRUE(memory_->map_epc(Gpa{0x8000}, Mfn{0x500}, 4));
  EXPECT_EQ(map(0x9000, page_size), MapError::overlap);
  EXPECT_FALSE(is_ram(0x8000));
  EXPECT_FALSE(write(0x8000, {1}));
  EXPECT_EQ(memory_->compare_exchange(Gpa{0x8000}, 8, 0, 1), std::nullopt);
  EXPECT_EQ(error_of(memory_->map_epc(Gpa{0x7001}, Mfn{0x500}, 1)), MapError::misaligned);
  EXPECT_EQ(unmap(0x8000, page_size), MapError::partial);
  EXPECT_EQ(unmap(0x8000, 4 * page_size), std::nullopt);
  EXPECT_EQ(map(0x9000, page_size), std::nullopt);
}

TEST_P(Memory, IsADomainsOwn) {
  const auto other = package_->make_memory();
  ASSERT_EQ(map(0x1000, page_size), std::nullopt);
  std::byte b{};
  EXPECT_FALSE(other->read(Gpa{0x1000}, {&b, 1}));
}

CLOISTER_EACH_IMPLEMENTATION(Memory);

// ---- processors

class SeenMemory : public OneProcessor {
 protected:
  SeenMemory() : OneProcessor({.epc = {{Mfn{0x500}, 4}}}) {}
  static constexpr u64 slot = 0x10'0000;
  GeneralRegs at(u64 address) {
    GeneralRegs regs;
    regs.gpr[arch::rdi] = address;
    regs.gpr[arch::rax] = 0x1234;
    return regs;
  }
};

TEST_P(SeenMemory, BothSidesSeeEachOthersStores) {
  guest_.put<u64>(data, 0x55);
  expect_halt_at(run({0x48, 0x01, 0x07, 0xf4}, at(data)), code + 3);  // add [rdi], rax; hlt
  EXPECT_EQ(guest_.get<u64>(data), 0x1289u);
  guest_.put<u64>(data, 1);
  expect_halt_at(run_at(code, at(data)), code + 3);
  EXPECT_EQ(guest_.get<u64>(data), 0x1235u);
}

TEST_P(SeenMemory, CodeThatTheDevicesChangeIsNew) {
  const std::initializer_list<u8> increments{0xff, 0xc0, 0xf4}, decrements{0xff, 0xc8, 0xf4};  // inc eax, dec eax; hlt
  for (int turn = 0; turn < 3; ++turn) {
    expect_halt_at(run(increments, at(0)), code + 2);
    EXPECT_EQ(reg(arch::rax), 0x1235u);
    expect_halt_at(run(decrements, at(0)), code + 2);
    EXPECT_EQ(reg(arch::rax), 0x1233u);
  }
  constexpr u32 inc_eax_hlt = 0xf4f4'c0ff, dec_eax_hlt = 0xf4f4'c8ff;
  guest_.put(code, inc_eax_hlt);
  expect_halt_at(run_at(code, at(0)), code + 2);
  ASSERT_EQ(guest_.memory().compare_exchange(Gpa{code}, 4, inc_eax_hlt, dec_eax_hlt), inc_eax_hlt);
  run_at(code, at(0));
  EXPECT_EQ(reg(arch::rax), 0x1233u);
}

/// When unmap() has returned, no translation and no code of it is known any more.
TEST_P(SeenMemory, WhatIsUnmappedIsGone) {
  for (int turn = 0; turn < 2; ++turn) {
    ASSERT_TRUE(guest_.memory().map_ram(Gpa{slot}, page_size));
    guest_.put_bytes(slot, std::initializer_list<u8>{0x48, 0x8b, 0x1f, 0x48, 0x89, 0x07, 0xf4});
    // mov rbx, [rdi]; mov [rdi], rax; hlt
    expect_halt_at(run_at(slot, at(slot + 0x800)), slot + 6);
    EXPECT_EQ(reg(arch::rbx), 0u) << "fresh";
    ASSERT_TRUE(guest_.memory().unmap(Gpa{slot}, page_size));
    EXPECT_EQ(run({0x48, 0x8b, 0x07, 0xf4}, at(slot + 0x800)).reason, ExitReason::ept_violation);
    EXPECT_EQ(run({0x48, 0x89, 0x07, 0xf4}, at(slot + 0x800)).reason, ExitReason::ept_violation);
    EXPECT_EQ(run_at(slot, at(0)).reason, ExitReason::ept_violation);
  }
}

/// Outside an enclave EPC is the abort page, and so is a frame that no section has (SDM vol. 3D, 34.3).
TEST_P(SeenMemory, EpcIsTheAbortPage) {
  ASSERT_TRUE(guest_.memory().map_epc(Gpa{slot}, Mfn{0x4ff}, 5));
  for (u64 page = 0; page < 5; ++page) {
    const u64 address = slot + page * page_size + 8;
    expect_halt_at(run({0x48, 0x89, 0x07, 0x48, 0x8b, 0x1f, 0xf4}, at(address)), code + 6);
    EXPECT_EQ(reg(arch::rbx), ~u64{0});
  }
}

CLOISTER_EACH_IMPLEMENTATION(SeenMemory);

}  // namespace
}  // namespace cloister::vmx
