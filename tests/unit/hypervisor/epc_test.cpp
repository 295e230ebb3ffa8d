// Taking a domain's EPC back: two passes, and what stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hypervisor/epc/clean.hpp"
#include "silicon/sgx/package_impl.hpp"

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

}  // namespace
}  // namespace cloister::hypervisor
