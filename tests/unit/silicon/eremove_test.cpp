// ENCLS[EREMOVE] on every kind of EPC page (SDM vol. 3D, 38.3, EREMOVE: operation).
#include <gtest/gtest.h>

#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
using arch::SgxError;

constexpr arch::Mfn first{0x8000};

/// A package of eight pages: a SECS at index 0 and, in the tests, its children.
class Eremove : public testing::Test {
 protected:
  Package package{Package::Config{.epc = {{first, 8}}}};

  EpcmEntry& entry(u32 index) { return package.impl().epcm(index); }
  u64 remove(u32 index) {
    const EnclsResult r = package.eremove(first + index);
    EXPECT_FALSE(r.fault);
    return r.rax;
  }
  void make_secs() {
    entry(0).valid = true;
    entry(0).type = PageType::secs;
  }
  void make_child(u32 index, PageType type) {
    entry(index).valid = true;
    entry(index).type = type;
    entry(index).secs = 0;
    ++entry(0).children;
  }
};

constexpr u64 code(SgxError e) { return static_cast<u64>(e); }

TEST_F(Eremove, InvalidPageIsSuccess) { EXPECT_EQ(remove(3), code(SgxError::success)); }

TEST_F(Eremove, FrameOutsideTheEpcFaults) {
  EXPECT_EQ(package.eremove(first + 8).fault, arch::vector::pf);
  EXPECT_EQ(package.eremove(first - 1).fault, arch::vector::pf);
}

TEST_F(Eremove, VersionArrayPageGoesAtOnce) {
  entry(1).valid = true;
  entry(1).type = PageType::va;
  EXPECT_EQ(remove(1), code(SgxError::success));
  EXPECT_FALSE(entry(1).valid);
}

TEST_F(Eremove, SecsWithChildrenStays) {
  make_secs();
  make_child(1, PageType::reg);
  EXPECT_EQ(remove(0), code(SgxError::child_present));
  EXPECT_TRUE(entry(0).valid);
  EXPECT_EQ(remove(1), code(SgxError::success));
  EXPECT_EQ(remove(0), code(SgxError::success));
  EXPECT_FALSE(entry(0).valid);
}

TEST_F(Eremove, ActiveThreadsKeepEveryChild) {
  make_secs();
  u32 index = 1;
  for (const PageType type : {PageType::reg, PageType::tcs, PageType::ss_first, PageType::ss_rest}) {
    make_child(index++, type);
  }
  entry(0).threads_now = 1;
  for (u32 i = 1; i < index; ++i) {
    EXPECT_EQ(remove(i), code(SgxError::enclave_act)) << i;
    EXPECT_TRUE(entry(i).valid) << i;
  }
  EXPECT_EQ(entry(0).children, 4u);
}

TEST_F(Eremove, AcceptedTrimmedPageGoesWhileThreadsRun) {
  make_secs();
  entry(0).threads_now = 1;
  make_child(1, PageType::trim);
  make_child(2, PageType::trim);
  entry(2).modified = true;  // EMODT without EACCEPT yet
  EXPECT_EQ(remove(1), code(SgxError::success));
  EXPECT_EQ(remove(2), code(SgxError::enclave_act));
  EXPECT_EQ(entry(0).children, 1u);
}

}  // namespace
}  // namespace cloister::silicon
