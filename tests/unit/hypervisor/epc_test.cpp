// Taking a domain's EPC back: two passes, and what stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "hypervisor/epc/clean.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/silicon.hpp"

namespace cloister::hypervisor {
namespace {

using arch::Mfn;
using arch::PageType;
using silicon::EpcSection;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

/// Two sections of frames; an enclave whose SECS is the first page that is removed.
class CleanEpc : public testing::Test {
 protected:
  const std::vector<EpcSection> sections{{Mfn{100}, 4}, {Mfn{500}, 4}};

  static void make_enclave(silicon::Package& package) {
    auto& impl = package.impl();
    const auto give = [&](u32 index, PageType type) {
      impl.epcm(index).type = type;
      impl.epcm(index).valid = true;
    };
    give(0, PageType::secs);
    for (const u32 child : {2u, 5u}) {
      give(child, PageType::reg);
      ++impl.epcm(0).children;
    }
    give(7, PageType::va);
  }
  static bool is_clean(silicon::Package& package) {
    for (u32 i = 0; i < 8; ++i) {
      if (package.impl().epcm(i).valid) return false;
    }
    return true;
  }
};

TEST_F(CleanEpc, RetriesASecsAfterItsChildren) {
  silicon::Package package({.epc = sections});
  make_enclave(package);
  EXPECT_EQ(package.eremove(Mfn{100}).rax, static_cast<u64>(arch::SgxError::child_present));
  EXPECT_THAT(clean_epc(package, sections), IsEmpty());
  EXPECT_TRUE(is_clean(package));
}

TEST_F(CleanEpc, TakesOnlyItsSections) {
  silicon::Package package({.epc = sections});
  make_enclave(package);
  const EpcSection second[] = {sections[1]};
  EXPECT_THAT(clean_epc(package, second), IsEmpty());
  EXPECT_TRUE(package.impl().epcm(2).valid);
  EXPECT_FALSE(package.impl().epcm(5).valid);
}

TEST_F(CleanEpc, ReturnsFramesThatMustBeWithdrawn) {
  silicon::Package package({.epc = sections, .faulty_frames = {Mfn{501}, Mfn{503}}});
  make_enclave(package);
  // 501 is a child, so its SECS stays with it; 503 is the version array.
  EXPECT_THAT(clean_epc(package, sections), UnorderedElementsAre(Mfn{100}, Mfn{501}, Mfn{503}));
}

TEST_F(CleanEpc, FreeFramesCanBeFaultyToo) {
  silicon::Package package({.epc = sections, .faulty_frames = {Mfn{102}}});
  EXPECT_THAT(clean_epc(package, sections), ElementsAre(Mfn{102}));
}

/// A tebibyte, of which an enclave has eight pages: they are what cleaning looks at, and it takes no memory.
TEST_F(CleanEpc, CostsWhatWasUsed) {
#ifdef __SANITIZE_THREAD__
  constexpr u64 pages = u64{1} << 25;  // its programs have 1.5 TiB of addresses, wherever the rest of them lies
#else
  constexpr u64 pages = u64{1} << 28;
#endif
  constexpr u64 first_pages = 1'000'003;
  const auto memory = silicon::EpcMemory::create(pages);
  ASSERT_TRUE(memory);
  const auto blocks = [&] {
    struct stat epcm {
    }, contents{};
    EXPECT_EQ(::fstat((*memory)->epcm_descriptor(), &epcm), 0);
    EXPECT_EQ(::fstat((*memory)->pages_descriptor(), &contents), 0);
    return epcm.st_blocks + contents.st_blocks;
  };
  // The second section lies below the first.
  const std::vector<EpcSection> large{{Mfn{u64{1} << 40}, first_pages}, {Mfn{100}, pages - first_pages}};
  silicon::Package package(
      {.epc = large, .memory = *memory, .faulty_frames = {Mfn{100}, Mfn{200}, Mfn{(u64{1} << 40) + 7}}});
  auto& impl = package.impl();
  const u32 secs = first_pages - 1, children[] = {0, first_pages, pages - 1, pages / 2};
  impl.epcm(secs).type = PageType::secs;
  impl.epcm(secs).valid = true;
  for (const u32 child : children) {
    impl.epcm(child).type = PageType::reg;
    impl.epcm(child).secs = secs;
    impl.epcm(child).valid = true;
    ++impl.epcm(secs).children;
  }
  const auto before = blocks();
  const std::vector<EpcSection> used = package.used_epc();
  u64 visited = 0;
  for (const EpcSection& run : used) visited += run.pages;
  EXPECT_GE(visited, 5u);
  EXPECT_LT(visited, 10'000u);
  EXPECT_TRUE(std::ranges::is_sorted(used, {}, &EpcSection::first));
  // 100 is a child and faulty, so its SECS stays too.
  EXPECT_THAT(clean_epc(package, large),
              UnorderedElementsAre(Mfn{100}, Mfn{200}, Mfn{(u64{1} << 40) + 7}, Mfn{(u64{1} << 40) + first_pages - 1}));
  for (const u32 child : {children[0], children[2], children[3]}) EXPECT_FALSE(impl.epcm(child).valid) << child;
  EXPECT_LE(blocks(), before + 8 * 16) << "only the faulty frames' own entries may be new";
}

}  // namespace
}  // namespace cloister::hypervisor
