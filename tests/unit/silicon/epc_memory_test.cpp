// EPC in memory that outlives a package: sections, descriptors that are refused, taking over, frames that are broken.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sgx_machine.hpp"
#include "silicon/sgx/epc/epc_memory_impl.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {
namespace {

using arch::Mfn;
using arch::PageType;
using arch::SgxError;

constexpr u64 code(SgxError e) { return static_cast<u64>(e); }

/// Bytes of host memory that a file occupies.
u64 occupied(int descriptor) {
  struct stat status {};
  EXPECT_EQ(::fstat(descriptor, &status), 0);
  return static_cast<u64>(status.st_blocks) * 512;
}

EpcMemory::Pointer fresh(u64 pages) {
  auto memory = EpcMemory::create(pages);
  EXPECT_TRUE(memory);
  return memory.value_or(nullptr);
}

// ---- descriptors

TEST(EpcMemory, IsSharedThroughItsDescriptors) {
  const auto memory = fresh(8);
  const auto again = EpcMemory::adopt(memory->pages_descriptor(), memory->epcm_descriptor(), 8);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->pages(), 8u);
  memory->impl().page(3)[5] = 42;
  EXPECT_EQ((*again)->impl().page(3)[5], 42);
  memory->impl().entries()[7].valid = true;
  EXPECT_TRUE((*again)->impl().entries()[7].valid);
}

TEST(EpcMemory, ItsDescriptorsCannotChangeTheirSize) {
  const auto memory = fresh(8);
  for (const int fd : {memory->pages_descriptor(), memory->epcm_descriptor()}) {
    EXPECT_NE(::ftruncate(fd, 0), 0);
    EXPECT_NE(::ftruncate(fd, 1 << 20), 0);
    EXPECT_NE(::fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0) << "nobody can seal it further";
  }
}

TEST(EpcMemory, RefusesWhatIsNotEpcMemoryOfThatSize) {
  const auto memory = fresh(8), larger = fresh(16);
  const int pages = memory->pages_descriptor(), epcm = memory->epcm_descriptor();
  const auto refused = [](int p, int e, u64 n) {
    const auto adopted = EpcMemory::adopt(p, e, n);
    return adopted ? std::string("adopted") : std::string(name_of(adopted.error()));
  };
  EXPECT_EQ(refused(pages, epcm, 8), "adopted");
  EXPECT_EQ(refused(-1, epcm, 8), "not_sealed");
  EXPECT_EQ(refused(pages, -1, 8), "not_sealed");
  EXPECT_EQ(refused(pages, epcm, 7), "wrong_size");
  EXPECT_EQ(refused(pages, epcm, u64{1} << 40), "wrong_size");
  EXPECT_EQ(refused(pages, epcm, ~u64{0}), "wrong_size");
  EXPECT_EQ(refused(larger->pages_descriptor(), epcm, 8), "wrong_size");
  EXPECT_EQ(refused(pages, larger->epcm_descriptor(), 8), "wrong_size");
  EXPECT_EQ(refused(epcm, pages, 8), "wrong_size");

  const Fd unsealed(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(unsealed.get(), 8 * 4096), 0);
  EXPECT_EQ(refused(unsealed.get(), epcm, 8), "not_sealed");
  ASSERT_EQ(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_EQ(refused(unsealed.get(), epcm, 8), "not_sealed") << "it can still grow";
  ASSERT_EQ(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_GROW), 0);
  EXPECT_EQ(refused(unsealed.get(), epcm, 8), "adopted");
  ASSERT_EQ(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_EQ(refused(unsealed.get(), epcm, 8), "not_writable");

  const auto no_epcm = make_sealed("test", EpcMemory::Impl::epcm_bytes(8));
  ASSERT_TRUE(no_epcm);
  EXPECT_EQ(refused(pages, no_epcm->get(), 8), "wrong_layout");
  memory->impl().header().layout = EpcmHeader::expected_layout + 1;
  EXPECT_EQ(refused(pages, epcm, 8), "wrong_layout");
}

TEST(EpcMemory, CostsNothingUntilItIsTouched) {
  constexpr u64 pages = (u64{512} << 30) / arch::page_size;
  const auto memory = fresh(pages);
  ASSERT_NE(memory, nullptr);
  Package package({.epc = {{Mfn{0x100000}, pages}}, .memory = memory});
  EXPECT_EQ(package.impl().epc_pages(), pages);
  EXPECT_EQ(package.eremove(Mfn{0x100000} + (pages - 1)).rax, code(SgxError::success));
  Package successor({.epc = {{Mfn{0x100000}, pages}}, .memory = memory});
  EXPECT_EQ(occupied(memory->pages_descriptor()), 0u);
  EXPECT_LE(occupied(memory->epcm_descriptor()), u64{64} << 10) << "its header, and the entry that EREMOVE looked at";
}

// ---- sections

TEST(EpcSections, CpuidListsEachInItsSubleaf) {
  const Package package({.epc = {{Mfn{0x5'0000'0}, 16}, {Mfn{0x100}, 2}, {Mfn{0x102}, 0x20'0000}}});
  const auto section = [&](u32 subleaf) { return package.cpuid(0x12, subleaf); };
  // SDM vol. 2A, table 3-8, leaf 0x12, sub-leaves 2 and up: type 1, base, property 1, size.
  EXPECT_EQ(section(2), (CpuidRegs{0x0000'0001, 0x5, 0x0001'0001, 0}));
  EXPECT_EQ(section(3), (CpuidRegs{0x0010'0001, 0, 0x0000'2001, 0}));
  EXPECT_EQ(section(4), (CpuidRegs{0x0010'2001, 0, 0x0000'0001, 0x2}));
  EXPECT_EQ(section(5), CpuidRegs{});
  EXPECT_EQ(section(~0u), CpuidRegs{});
}

TEST(EpcSections, FramesHaveTheirPagesInTheOrderOfTheSections) {
  Package package({.epc = {{Mfn{500}, 3}, {Mfn{100}, 2}, {Mfn{900}, 0}, {Mfn{102}, 4}}});
  const Package::Impl& impl = package.impl();
  EXPECT_EQ(impl.epc_pages(), 9u);
  const std::pair<u64, std::optional<u32>> expected[] = {{0, {}},   {99, {}},  {100, 3},     {101, 4}, {102, 5},
                                                         {105, 8},  {106, {}}, {499, {}},    {500, 0}, {502, 2},
                                                         {503, {}}, {900, {}}, {~u64{0}, {}}};
  for (const auto& [frame, index] : expected) {
    EXPECT_EQ(impl.index_of(Mfn{frame}), index) << frame;
    EXPECT_EQ(package.eremove(Mfn{frame}).fault.has_value(), !index) << frame;
  }
}

TEST(EpcSections, WithoutMemoryAreNotThere) {
  const Package package({.epc = {{Mfn{100}, 4}, {Mfn{200}, 4}, {Mfn{300}, 1}}, .memory = fresh(7)});
  EXPECT_NE(package.cpuid(0x12, 2), CpuidRegs{});
  EXPECT_EQ(package.cpuid(0x12, 3), CpuidRegs{});
}

TEST(EpcSections, OneMappingMayCoverSeveral) {
  Package package({.epc = {{Mfn{104}, 4}, {Mfn{100}, 4}}});
  GuestMemory memory;
  Vcpu vcpu(package, memory, {});
  ASSERT_TRUE(memory.map_epc(Gpa{0x100000}, Mfn{99}, 10));
  Mmu& mmu = vcpu.impl().mmu();
  const auto index_at = [&](u64 page) {
    return mmu.translate_raw(0x100000 + page * arch::page_size, Access::read, AccessMode::supervisor)->epc_index;
  };
  EXPECT_EQ(index_at(0), std::nullopt) << "frame 99 is no section's: neither RAM nor EPC";
  EXPECT_EQ(index_at(1), 4u);
  EXPECT_EQ(index_at(4), 7u);
  EXPECT_EQ(index_at(5), 0u);
  EXPECT_EQ(index_at(8), 3u);
  EXPECT_EQ(index_at(9), std::nullopt);
}

// ---- taking over

/// An enclave of two pages beside a version array, on the given memory; its processors die in the middle of things.
void leave_behind(const EpcMemory::Pointer& memory) {
  auto config = SgxMachine::plain_config();
  config.memory = memory;
  SgxMachine m(config);
  ASSERT_EQ(m.ecreate_page(9, SgxMachine::plain_secs()), 0);
  for (const u32 child : {3u, 20u}) {
    ASSERT_EQ(m.eadd_page(child, 9, m.base + child * arch::page_size, m.flags_of(PageType::reg, 3), EpcBytes{1}), 0);
  }
  m.cpu().gpr[arch::rbx] = static_cast<u64>(PageType::va);
  ASSERT_EQ(m.run(epa, static_cast<u64>(PageType::va), m.page(30)), 0);
  m.epcm(9).threads_now = 2;
  m.epcm(9).threads_before = 1;
  m.epcm(9).children = 7;
  for (const u32 page : {3u, 9u, 40u}) ASSERT_TRUE(m.epcm(page).lock.try_exclusive());
  ASSERT_TRUE(m.epcm(9).build_lock.try_exclusive());
  ASSERT_TRUE(m.epcm(9).track_lock.try_exclusive());
  ASSERT_TRUE(m.epcm(20).sgx2_lock.try_shared());
}

TEST(EpcTakeover, ProcessorsStartAsAfterAResetAndPagesStayWhoseTheyAre) {
  const auto memory = fresh(SgxMachine::epc_pages);
  ASSERT_NO_FATAL_FAILURE(leave_behind(memory));
  auto config = SgxMachine::plain_config();
  config.memory = memory;
  Package package(config);
  const auto remove = [&](u32 index) { return package.eremove(SgxMachine::first_frame + index); };
  for (const u32 index : {9u}) {
    EXPECT_FALSE(remove(index).fault);
    EXPECT_EQ(remove(index).rax, code(SgxError::child_present));
  }
  for (const u32 index : {3u, 40u, 20u, 30u, 9u}) {
    EXPECT_FALSE(remove(index).fault) << index;
    EXPECT_EQ(remove(index).rax, code(SgxError::success)) << index;
    EXPECT_FALSE(package.impl().epcm(index).valid) << index;
  }
}

TEST(EpcTakeover, WhateverTheMemoryHoldsCanBeRemoved) {
  std::mt19937 random(1);
  const auto memory = fresh(SgxMachine::epc_pages);
  for (int round = 0; round < 200; ++round) {
    u8* const bytes = reinterpret_cast<u8*>(memory->impl().entries());
    // Whole bytes of noise; small numbers, so that many entries look like pages of each other.
    for (u64 i = 0; i < memory->pages() * sizeof(EpcmEntry); ++i) {
      bytes[i] = static_cast<u8>(round % 2 == 0 ? random() : random() % 4 == 0 ? random() % 3 : 0);
    }
    auto config = SgxMachine::plain_config();
    config.memory = memory;
    Package package(config);
    for (int pass = 0; pass < 2; ++pass) {
      for (u32 i = 0; i < memory->pages(); ++i) {
        const EnclsResult result = package.eremove(SgxMachine::first_frame + i);
        ASSERT_FALSE(result.fault) << i;
        if (pass == 1) {
          ASSERT_EQ(result.rax, code(SgxError::success)) << i;
        }
      }
    }
  }
}

// ---- broken frames

TEST(FaultyFrames, CannotBeRemovedByAnybody) {
  auto config = SgxMachine::plain_config();
  config.faulty_frames = {SgxMachine::first_frame + 5, SgxMachine::first_frame + 2, Mfn{1}};
  SgxMachine m(config);
  for (const u32 index : {2u, 5u}) {
    EXPECT_EQ(m.door().eremove(SgxMachine::first_frame + index).rax, code(SgxError::enclave_act));
    EXPECT_EQ(m.run(eremove, 0, m.page(index)), static_cast<i64>(SgxError::enclave_act));
  }
  for (const u32 index : {0u, 1u, 3u, 4u, 6u}) {
    EXPECT_EQ(m.door().eremove(SgxMachine::first_frame + index).rax, code(SgxError::success)) << index;
  }
}

TEST(FaultyFrames, AnEnclaveOnThemKeepsItsSecsToo) {
  auto config = SgxMachine::plain_config();
  config.faulty_frames = {SgxMachine::first_frame + 1};
  SgxMachine m(config);
  ASSERT_EQ(m.ecreate_page(0, SgxMachine::plain_secs()), 0);
  ASSERT_EQ(m.eadd_page(1, 0, m.base, m.flags_of(PageType::reg, 3), EpcBytes{}), 0);
  EXPECT_EQ(m.door().eremove(SgxMachine::first_frame + 1).rax, code(SgxError::enclave_act));
  EXPECT_EQ(m.door().eremove(SgxMachine::first_frame).rax, code(SgxError::child_present));
}

}  // namespace
}  // namespace cloister::silicon
