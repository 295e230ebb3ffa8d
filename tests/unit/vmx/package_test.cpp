// Packages: what they say they are, EPC that outlives them, and the leaves that root mode runs on it (vmx/package.hpp,
// vmx/epc_memory.hpp, vmx/diagnostics.hpp).
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.hpp"

namespace cloister::vmx {
namespace {

using arch::PageType;
using arch::SgxError;

constexpr u64 code_of(SgxError e) { return static_cast<u64>(e); }
constexpr Mfn first{0x8'0000};
constexpr u64 pages = 64;

Package::Config with_epc(EpcMemory::Pointer memory = nullptr) {
  return {.epc = {{first, pages}}, .memory = std::move(memory), .root_secret = {1}, .boot = 1};
}

class Packages : public Door {
 protected:
  std::unique_ptr<Package> make(Package::Config config) const { return backend().make_package(std::move(config)); }
  EpcMemory::Pointer fresh(u64 n = pages) const {
    auto memory = backend().create_epc(n);
    EXPECT_TRUE(memory);
    return memory.value_or(nullptr);
  }
  static bool covers(const std::vector<EpcSection>& runs, Mfn frame) {
    return std::ranges::any_of(runs,
                               [&](const EpcSection& r) { return frame >= r.first && frame - r.first < r.pages; });
  }
  static EnclsResult ecreate(Package& package, u64 page, const arch::Secs& secs = plain_secs(),
                             const arch::Secinfo& secinfo = {}) {
    alignas(64) const arch::Secinfo info = secinfo;
    alignas(4096) const arch::Secs aligned = secs;
    return package.ecreate(first + page, info, aligned, Gpa{0});
  }
  static void expect(const EnclsResult& result, std::optional<u8> fault, SgxError error = SgxError::success) {
    EXPECT_EQ(result.fault, fault);
    EXPECT_EQ(result.rax, code_of(error));
  }
};

// ---- CPUID

TEST_P(Packages, SayInCpuidWhatTheyOffer) {
  Package::Config config = with_epc();
  const auto package = make(config);
  for (const u32 leaf : {0u, 1u, 7u, 0xdu, 0x12u, 0x8000'0001u, 0x8000'0002u}) {
    for (const u32 subleaf : {0u, 1u, 2u}) {
      EXPECT_EQ(package->cpuid(leaf, subleaf), backend().cpuid(config, leaf, subleaf)) << std::hex << leaf;
    }
  }
  EXPECT_EQ(package->cpuid(1, 0).eax, config.features.signature);
  EXPECT_EQ(package->cpuid(7, 0).ebx >> 2 & 1, 1u) << "SGX";
  EXPECT_EQ(package->cpuid(0x12, 0).eax & 1, 1u);

  config.features.leaf7_ebx &= ~(1u << 2);
  config.features.signature = 0x706e5;
  const auto without = make(config);
  EXPECT_EQ(without->cpuid(1, 0).eax, 0x706e5u);
  EXPECT_EQ(without->cpuid(7, 0).ebx >> 2 & 1, 0u);
  EXPECT_EQ(without->cpuid(0x12, 2), CpuidRegs{});
}

/// SDM vol. 2A, table 3-8, leaf 12H, sub-leaves 2 and up: type 1, base, property 1, size.
TEST_P(Packages, ListEachSection) {
  const auto package = make({.epc = {{Mfn{0x5'0000'0}, 16}, {Mfn{0x100}, 2}}});
  EXPECT_EQ(package->cpuid(0x12, 2), (CpuidRegs{0x0000'0001, 0x5, 0x0001'0001, 0}));
  EXPECT_EQ(package->cpuid(0x12, 3), (CpuidRegs{0x0010'0001, 0, 0x0000'2001, 0}));
  EXPECT_EQ(package->cpuid(0x12, 4), CpuidRegs{});
  EXPECT_EQ(make({})->cpuid(0x12, 2), CpuidRegs{});
}

TEST_P(Packages, HaveTheSectionsForWhichThereIsMemory) {
  const auto package = make({.epc = {{Mfn{100}, 4}, {Mfn{200}, 4}, {Mfn{300}, 1}}, .memory = fresh(7)});
  EXPECT_NE(package->cpuid(0x12, 2), CpuidRegs{});
  EXPECT_EQ(package->cpuid(0x12, 3), CpuidRegs{});
  expect(package->eremove(Mfn{103}), std::nullopt);
  expect(package->eremove(Mfn{200}), arch::vector::pf);
}

// ---- leaves of root mode

TEST_P(Packages, RemoveFramesOfTheirSections) {
  const auto package = make({.epc = {{Mfn{500}, 3}, {Mfn{100}, 2}}});
  for (const u64 frame : {100, 101, 500, 502}) expect(package->eremove(Mfn{frame}), std::nullopt);
  for (const u64 frame : {u64{0}, u64{99}, u64{102}, u64{499}, u64{503}, ~u64{0}}) {
    expect(package->eremove(Mfn{frame}), arch::vector::pf);
  }
}

TEST_P(Packages, MakeASecsInRootMode) {
  const auto package = make(with_epc());
  expect(ecreate(*package, 3), std::nullopt);
  expect(ecreate(*package, 3), arch::vector::pf);
  expect(ecreate(*package, pages), arch::vector::pf);
  expect(package->eremove(first + 3), std::nullopt);
  expect(ecreate(*package, 3), std::nullopt);
}

TEST_P(Packages, RefuseAWrongSecs) {
  const auto package = make(with_epc());
  const auto refused = [&](auto change, const arch::Secinfo& secinfo = {}) {
    arch::Secs secs = plain_secs();
    change(secs);
    expect(ecreate(*package, 0, secs, secinfo), arch::vector::gp);
  };
  refused([](arch::Secs& s) { s.size += 0x1000; });
  refused([](arch::Secs& s) { s.base += 0x1000; });
  refused([](arch::Secs& s) { s.ssa_frame_size = 0; });
  refused([](arch::Secs& s) { s.attributes.xfrm = 1; });
  refused([](arch::Secs& s) { s.attributes.flags |= u64{1} << 63; });
  refused([](arch::Secs& s) { s.reserved4[0] = 1; });
  refused([](arch::Secs&) {}, {.flags = static_cast<u64>(PageType::reg) << 8, .reserved = {}});
  expect(ecreate(*package, 0), std::nullopt);
}

TEST_P(Packages, CannotClearFaultyFrames) {
  Package::Config config = with_epc();
  config.faulty_frames = {first + 5, first + 2, Mfn{1}};
  const auto package = make(config);
  for (const u64 page : {2, 5}) expect(package->eremove(first + page), std::nullopt, SgxError::enclave_act);
  for (const u64 page : {1, 3, 4, 6}) expect(package->eremove(first + page), std::nullopt);
  const auto used = package->used_epc();
  EXPECT_TRUE(covers(used, first + 2) && covers(used, first + 5));
  EXPECT_FALSE(covers(used, Mfn{1})) << "of another package";
}

TEST_P(Packages, KnowWhichFramesWereUsed) {
  constexpr u64 many = 1 << 20;
  Package::Config config = with_epc();
  config.epc = {{first + many, many}, {first, many}};
  const auto package = make(config);
  EXPECT_TRUE(package->used_epc().empty());
  for (const u64 page : {u64{0}, many / 2, 2 * many - 1}) expect(ecreate(*package, page), std::nullopt);
  const auto used = package->used_epc();
  u64 sum = 0;
  for (std::size_t i = 0; i < used.size(); ++i) {
    sum += used[i].pages;
    if (i != 0) {
      EXPECT_GT(used[i].first, used[i - 1].first + used[i - 1].pages);
    }
  }
  for (const u64 page : {u64{0}, many / 2, 2 * many - 1}) EXPECT_TRUE(covers(used, first + page)) << page;
  EXPECT_LT(sum, many / 2) << "not all that there is";
}

// ---- EPC memory and counters

TEST_P(Packages, TakeOverMemoryOfOneThatEnded) {
  const auto memory = fresh();
  expect(ecreate(*make(with_epc(memory)), 9), std::nullopt);
  const auto adopted = backend().adopt_epc(memory->pages_descriptor(), memory->epcm_descriptor(), pages);
  ASSERT_TRUE(adopted);
  EXPECT_EQ((*adopted)->pages(), pages);
  const auto successor = make(with_epc(*adopted));
  expect(ecreate(*successor, 9), arch::vector::pf);
  EXPECT_TRUE(covers(successor->used_epc(), first + 9));
  expect(successor->eremove(first + 9), std::nullopt);
  expect(ecreate(*successor, 9), std::nullopt);
}

TEST_P(Packages, RefuseWhatIsNotEpcMemory) {
  const auto memory = fresh(8), larger = fresh(16);
  const int p = memory->pages_descriptor(), e = memory->epcm_descriptor();
  const auto refused = [&](int pages_fd, int epcm_fd, u64 n) {
    const auto adopted = backend().adopt_epc(pages_fd, epcm_fd, n);
    return adopted ? "adopted" : name_of(adopted.error());
  };
  EXPECT_STREQ(refused(p, e, 8), "adopted");
  EXPECT_STREQ(refused(-1, e, 8), "not_sealed");
  EXPECT_STREQ(refused(p, -1, 8), "not_sealed");
  EXPECT_STREQ(refused(p, e, 7), "wrong_size");
  EXPECT_STREQ(refused(p, e, ~u64{0}), "wrong_size");
  EXPECT_STREQ(refused(p, larger->epcm_descriptor(), 8), "wrong_size");
  const int unsealed = ::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(::ftruncate(unsealed, 8 * 4096), 0);
  EXPECT_STREQ(refused(unsealed, e, 8), "not_sealed");
  ::close(unsealed);
  EXPECT_FALSE(backend().create_epc(u64{1} << 32));
}

TEST_P(Packages, MemoryThatIsNotTouchedCostsNothing) {
  constexpr u64 many = u64{1} << 27;  // 512 GiB
  const auto memory = fresh(many);
  ASSERT_NE(memory, nullptr);
  Package::Config config = with_epc(memory);
  config.epc = {{first, many}};
  const auto package = make(config);
  expect(package->eremove(first + many - 1), std::nullopt);
  const auto observer = memory->observe();
  ASSERT_TRUE(observer);
  EXPECT_EQ((*observer)->count().free, many);
  for (const int fd : {memory->pages_descriptor(), memory->epcm_descriptor()}) {
    struct stat status {};
    ASSERT_EQ(::fstat(fd, &status), 0);
    EXPECT_LE(status.st_blocks * 512, 64 << 10);
    EXPECT_NE(::ftruncate(fd, 0), 0) << "sealed";
  }
}

TEST_P(Packages, CountersAreAdopted) {
  const auto machine = backend().create_counters(7);
  ASSERT_TRUE(machine);
  EXPECT_EQ((*machine)->boot(), 7u);
  const auto adopted = backend().adopt_counters((*machine)->descriptor());
  ASSERT_TRUE(adopted);
  EXPECT_EQ((*adopted)->boot(), 7u);
  EXPECT_EQ(backend().adopt_counters(-1).error(), MemoryError::not_sealed);
}

/// Two packages of a machine that give enclave ids at the same time give each once.
TEST_P(Packages, OfOneMachineGiveEachEnclaveIdOnce) {
  const auto machine = backend().create_counters(7);
  ASSERT_TRUE(machine);
  const auto adopted = backend().adopt_counters((*machine)->descriptor());
  ASSERT_TRUE(adopted);
  std::vector<u64> ids;
  std::vector<std::unique_ptr<Package>> packages;
  for (const auto& counters : {*machine, *adopted}) {
    Package::Config config = with_epc();
    config.counters = counters;
    packages.push_back(make(config));
  }
  for (u64 page = 0; page < 4; ++page) {
    for (const auto& package : packages) expect(ecreate(*package, page), std::nullopt);
  }
  for (const auto& package : packages) {
    const auto observer = package->observe();
    ASSERT_TRUE(observer);
    for (const auto& page : (*observer)->valid_pages()) ids.push_back(page.eid);
  }
  std::ranges::sort(ids);
  EXPECT_EQ(ids.size(), 8u);
  EXPECT_EQ(std::ranges::adjacent_find(ids), ids.end());
}

// ---- the diagnostics door

TEST_P(Packages, AreObserved) {
  const auto memory = fresh();
  auto package = make(with_epc(memory));
  const auto observer = package->observe();
  ASSERT_TRUE(observer);
  EXPECT_EQ((*observer)->pages(), pages);
  EXPECT_TRUE((*observer)->valid_pages().empty());
  expect(ecreate(*package, 40), std::nullopt);
  expect(ecreate(*package, 7), std::nullopt);
  package.reset();  // needed no longer than during the call
  const auto others = memory->observe();
  ASSERT_TRUE(others);
  for (const auto* each : {&*observer, &*others}) {
    const auto valid = (*each)->valid_pages();
    ASSERT_EQ(valid.size(), 2u);
    EXPECT_EQ(valid[0].index, 7u);
    EXPECT_EQ(valid[1].index, 40u);
    EXPECT_EQ(valid[0].type, PageType::secs);
    EXPECT_NE(valid[0].eid, valid[1].eid);
    const auto counts = (*each)->count();
    EXPECT_EQ(counts.free, pages - 2);
    EXPECT_EQ(counts.valid[static_cast<std::size_t>(PageType::secs)], 2u);
  }
}

CLOISTER_EACH_IMPLEMENTATION(Packages);

/// Pages that are nobody's cost the host nothing, and others stay what they are, while a package runs on them.
TEST_P(Packages, FreePagesGiveTheHostsMemoryBack) {
  constexpr u64 many = 256;
  const auto memory = fresh(many);
  ASSERT_NE(memory, nullptr);
  const auto package = make({.epc = {{first, many}}, .memory = memory, .root_secret = {1}, .boot = 1});
  const auto taken = [](int descriptor) {
    struct stat status {};
    EXPECT_EQ(::fstat(descriptor, &status), 0);
    return static_cast<u64>(status.st_blocks) * 512;
  };
  const auto epa = [&](u64 page) { return package->encls(arch::EnclsLeaf::epa, {.page = first + page}); };
  for (u64 page = 0; page < many; ++page) ASSERT_EQ(epa(page).rax, 0u);
  const u64 all = taken(memory->epcm_descriptor());
  EXPECT_EQ(taken(memory->pages_descriptor()), many * arch::page_size);
  // One of a group whose others are somebody's: their entries stay.
  ASSERT_EQ(package->eremove(first + 70).rax, 0u);
  const EpcRow but_one[] = {{0, 70}, {71, many - 71}};
  EXPECT_TRUE(backend().discard_epc(*memory, {70, 1}, but_one));
  EXPECT_EQ(taken(memory->pages_descriptor()), (many - 1) * arch::page_size);
  EXPECT_EQ(taken(memory->epcm_descriptor()), all);
  EXPECT_TRUE(epa(69).fault && epa(71).fault) << "they are valid";
  EXPECT_EQ(epa(70).rax, 0u) << "it is as never used";
  // The last of a group takes the group with it, and no other.
  for (u64 page = 60; page < 130; ++page) ASSERT_EQ(package->eremove(first + page).rax, 0u);
  const EpcRow rest[] = {{0, 60}, {130, many - 130}};
  EXPECT_TRUE(backend().discard_epc(*memory, {60, 70}, rest));
  EXPECT_EQ(taken(memory->pages_descriptor()), (many - 70) * arch::page_size);
  EXPECT_EQ(taken(memory->epcm_descriptor()), all - arch::page_size);
  EXPECT_TRUE(epa(59).fault && epa(130).fault);
  EXPECT_EQ(epa(64).rax, 0u);
  EXPECT_FALSE(backend().discard_epc(*memory, {many, 1}, rest)) << "there is no such page";
  EXPECT_EQ(backend().epc_beyond(*memory, but_one), 0u);
  EXPECT_EQ(backend().epc_beyond(*memory, rest), 2 * arch::page_size) << "page 64, and the entries of its group";
  const EpcRow fewer[] = {{0, 60}, {192, many - 192}};
  EXPECT_EQ(backend().epc_beyond(*memory, fewer), (1 + 62 + 2) * arch::page_size)
      << "pages 64 and 130 to 191, and the entries of their groups";
  const EpcRow scattered[] = {{0, 1}, {1, 0}, {2, 1}, {63, 2}, {many - 1, 1}};
  EXPECT_EQ(backend().epc_beyond(*memory, scattered), taken(memory->pages_descriptor()) - 5 * arch::page_size +
                                                          taken(memory->epcm_descriptor()) - (1 + 3) * arch::page_size);
}

}  // namespace
}  // namespace cloister::vmx
