// Accessed and dirty flags of guest memory, and the dirty log that they are (SDM vol. 3C, 29.3.5; vmx/memory.hpp).
#include <atomic>
#include <thread>

#include "guest.hpp"

namespace cloister::vmx {
namespace {

using arch::EnclsLeaf;
using arch::page_size;

constexpr Mfn first{0x8'0000};
constexpr u64 quiet = 0x3000;  ///< a page that no program here touches

class AccessedDirty : public OneProcessor {
 protected:
  AccessedDirty() : OneProcessor({.epc = {{first, 16}}, .root_secret = {1}, .boot = 1}) {}
  void SetUp() override {
    CLOISTER_NEEDS(*package_, epc_paging);
    memory().set_accessed_dirty(true);
    take_all();
  }
  GuestMemory& memory() { return guest_.memory(); }
  void take_all() {
    memory().take_accessed(Gpa{0}, mapped_bytes / page_size);
    memory().take_dirty(Gpa{0}, mapped_bytes / page_size);
  }
  bool accessed(u64 at) { return memory().take_accessed(Gpa{at}, 1)[0]; }
  bool dirty(u64 at) { return memory().take_dirty(Gpa{at}, 1)[0]; }
  Exit at(std::initializer_list<u8> bytes, u64 address) {
    GeneralRegs regs;
    regs.gpr[arch::rdi] = address;
    return run(bytes, regs);
  }
  void load(u64 address) { expect_halt_at(at({0x48, 0x8b, 0x1f, 0xf4}, address), code + 3); }
  void store(u64 address) { expect_halt_at(at({0x48, 0x89, 0x07, 0xf4}, address), code + 3); }
  void encls(EnclsLeaf leaf, u64 rbx, u64 rcx) {
    GeneralRegs regs;
    regs.gpr[arch::rax] = static_cast<u64>(leaf);
    regs.gpr[arch::rbx] = rbx;
    regs.gpr[arch::rcx] = rcx;
    expect_halt_at(run({0x0f, 0x01, 0xcf, 0xf4}, regs), code + 3);
  }
};

TEST_P(AccessedDirty, AreSetByAccessesAndTakenOnce) {
  load(data);
  EXPECT_TRUE(accessed(data));
  EXPECT_FALSE(accessed(data));
  EXPECT_FALSE(dirty(data));
  store(data);
  EXPECT_TRUE(dirty(data));
  EXPECT_FALSE(dirty(data));
  EXPECT_FALSE(accessed(quiet));
  EXPECT_FALSE(dirty(quiet));
  EXPECT_TRUE(accessed(code));
}

/// However often it is asked: what a processor knows of a page does not hide its stores.
TEST_P(AccessedDirty, EachStoreIsInTheNextAnswer) {
  store(data);
  for (int turn = 0; turn < 5; ++turn) {
    EXPECT_TRUE(dirty(data)) << turn;
    load(data);
    EXPECT_FALSE(dirty(data)) << turn;
    store(data);
  }
  take_all();
  guest_.put<u64>(data, 0x77);
  EXPECT_TRUE(dirty(data)) << "a device's";
  EXPECT_EQ(memory().compare_exchange(Gpa{data}, 8, 0x77, 1), 0x77u);
  EXPECT_TRUE(dirty(data)) << "the hypervisor's";
  expect_halt_at(at({0xf0, 0x48, 0x0f, 0xc1, 0x07, 0xf4}, data), code + 5);  // lock xadd [rdi], rax
  EXPECT_TRUE(dirty(data));
}

/// A translation that is known sets no flag: that is what makes accessed flags cheap. What forgets it sets one again.
TEST_P(AccessedDirty, AnAccessAfterAFlushIsSeen) {
  load(data);
  EXPECT_TRUE(accessed(data));
  vcpu_->set_system(long_mode());
  load(data);
  EXPECT_TRUE(accessed(data));
}

/// Table 28-7 and 29.3.5: an access to a paging structure is a write.
TEST_P(AccessedDirty, APageWalkWrites) {
  vcpu_->set_system(long_mode());
  load(data);
  const auto taken = memory().take_dirty(Gpa{tables}, 4);
  EXPECT_EQ(taken, (std::vector<bool>{true, true, true, true}));
  memory().set_accessed_dirty(false);
  take_all();
  vcpu_->set_system(long_mode());
  load(data);
  EXPECT_FALSE(dirty(tables));
  EXPECT_FALSE(accessed(data)) << "nothing is set while they are off";
}

TEST_P(AccessedDirty, OfEpcAreItsEntries) {
  constexpr u64 mapped = epc_base, single = epc_base + 0x1'0000;
  ASSERT_TRUE(memory().map_epc(Gpa{mapped}, first, 4));
  ASSERT_TRUE(memory().reserve_epc(Gpa{single}, 4));
  ASSERT_TRUE(memory().map_epc(Gpa{single}, first + 4));
  for (const u64 page : {mapped, single}) {
    load(page);
    EXPECT_TRUE(accessed(page));
    EXPECT_FALSE(dirty(page));
    encls(EnclsLeaf::eremove, 0, page);
    EXPECT_TRUE(dirty(page));
    for (int turn = 0; turn < 3; ++turn) {
      EXPECT_FALSE(dirty(page));
      encls(EnclsLeaf::eremove, 0, page);
      EXPECT_TRUE(dirty(page)) << "an operand that the processor remembers";
    }
    EXPECT_EQ(memory().take_dirty(Gpa{page}, 4), std::vector<bool>(4, false));
  }
  encls(EnclsLeaf::epa, 3, single);
  ASSERT_TRUE(memory().unmap_epc(Gpa{single}));
  EXPECT_FALSE(dirty(single)) << "nothing is mapped";
  ASSERT_TRUE(memory().map_epc(Gpa{single}, first + 5));
  EXPECT_FALSE(dirty(single) || accessed(single)) << "a new page";
  EXPECT_EQ(package_->eremove(first + 5).rax, 0u);
  EXPECT_FALSE(dirty(single)) << "root mode has no EPT";
}

TEST_P(AccessedDirty, ARangeMayHaveHoles) {
  store(data);
  const auto taken = memory().take_dirty(Gpa{0}, mapped_bytes / page_size);
  ASSERT_EQ(taken.size(), mapped_bytes / page_size);
  for (u64 i = 0; i < taken.size(); ++i) {
    const u64 at = i * page_size;
    if (at == data) {
      EXPECT_TRUE(taken[i]);
    } else if (at == quiet || at >= ram_bytes) {
      EXPECT_FALSE(taken[i]) << std::hex << at;
    }
  }
}

/// However it was written, and whatever was taken since.
TEST_P(AccessedDirty, WhatWasEverWrittenIsToldAsThat) {
  const auto written = [&](u64 at) -> bool { return memory().written(Gpa{at}, 1)[0]; };
  constexpr u64 ram = 0x400'0000, pages = 8;
  ASSERT_TRUE(memory().map_ram(Gpa{ram}, pages * page_size));
  std::byte seen{};
  ASSERT_TRUE(memory().read(Gpa{ram}, {&seen, 1}));
  load(data);
  EXPECT_EQ(memory().written(Gpa{ram}, pages), std::vector<bool>(pages, false));
  guest_.put<u64>(ram, 7);
  EXPECT_EQ(memory().compare_exchange(Gpa{ram + page_size}, 8, 1, 2), 0u) << "which writes nothing";
  EXPECT_EQ(memory().compare_exchange(Gpa{ram + 2 * page_size}, 8, 0, 2), 0u);
  const std::vector<bool> both{true, false, true, false};
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(memory().written(Gpa{ram}, 4), both) << turn;
    memory().take_dirty(Gpa{ram}, pages);
  }
  EXPECT_EQ(memory().written(Gpa{ram - page_size}, 3), (std::vector<bool>{false, true, false})) << "none is there";
  EXPECT_FALSE(written(quiet));
  store(quiet);
  EXPECT_TRUE(written(quiet));
  take_all();
  EXPECT_FALSE(dirty(quiet));
  EXPECT_TRUE(written(quiet));
  ASSERT_TRUE(memory().unmap(Gpa{ram}, pages * page_size));
  ASSERT_TRUE(memory().map_ram(Gpa{ram}, pages * page_size));
  EXPECT_FALSE(written(ram)) << "fresh";
  ASSERT_TRUE(memory().map_epc(Gpa{epc_base}, first, 1));
  encls(EnclsLeaf::eremove, 0, epc_base);
  EXPECT_FALSE(written(epc_base)) << "not RAM";
}

/// A page that an answer leaves out has not changed since the answer before, while processors run.
TEST_P(AccessedDirty, NoStoreIsLostWhileAProcessorRuns) {
  // 1: inc qword [rdi]; mov ecx, 500; 2: dec ecx; jnz 2b; jmp 1b
  guest_.put_bytes(
      code, std::initializer_list<u8>{0x48, 0xff, 0x07, 0xb9, 0xf4, 1, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xeb, 0xf2});
  GeneralRegs regs = vcpu_->general();
  regs.rip = code;
  regs.gpr[arch::rdi] = data;
  vcpu_->set_general(regs);
  std::thread runner([&] { EXPECT_EQ(vcpu_->run(u64{1} << 40).reason, ExitReason::external_interrupt); });
  const auto value = [&] { return guest_.get<u64>(data); };
  u64 last = 0, seen = 0, wrong = 0;
  for (int turn = 0; turn < 300 || (seen < 20 && turn < 1'000'000); ++turn) {
    const u64 before = value();
    if (dirty(data)) {
      ++seen;
    } else if (before != last) {
      ++wrong;
    }
    last = value();
  }
  vcpu_->kick();
  runner.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GE(seen, 20u);
}

CLOISTER_EACH_IMPLEMENTATION(AccessedDirty);

}  // namespace
}  // namespace cloister::vmx
