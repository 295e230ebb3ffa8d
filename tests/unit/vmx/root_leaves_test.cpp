// Leaves of ENCLS and ENCLV that root mode runs: what a hypervisor evicts and loads behind its guest's back, and what
// it learns (SDM vol. 3D, 38.3 and 38.5; vmx/leaf_operands.hpp).
#include <cstring>

#include "guest.hpp"

namespace cloister::vmx {
namespace {

using arch::EnclsLeaf;
using arch::EnclvLeaf;
using arch::PageType;
using arch::SgxError;
namespace v = arch::vector;
namespace f = arch::secinfo_flags;

constexpr Mfn first{0x8'0000};
constexpr u64 pages = 16;

/// An enclave of a SECS and one child, and a version array of the hypervisor's own.
class RootLeaves : public Door {
 protected:
  static constexpr Mfn secs = first, child = first + 1, va = first + 2, spare = first + 3;
  static constexpr u64 linear = 0x10'1000;

  void SetUp() override { CLOISTER_NEEDS(*package_, epc_paging); }

  EnclsResult encls(EnclsLeaf leaf, const LeafOperands& operands) { return package_->encls(leaf, operands); }
  EnclsResult on(EnclsLeaf leaf, Mfn page) { return encls(leaf, {.page = page}); }
  static void expect(const EnclsResult& result, SgxError error = SgxError::success) {
    EXPECT_EQ(result.fault, std::nullopt);
    EXPECT_EQ(result.rax, static_cast<u64>(error));
  }
  static void expect_fault(const EnclsResult& result, u8 vector, std::optional<Mfn> page = std::nullopt) {
    EXPECT_EQ(result.fault, vector);
    EXPECT_EQ(result.page, page);
  }

  void make_secs(Mfn at = secs, Gpa context = Gpa{0x7000}) {
    alignas(64) const arch::Secinfo info{};
    alignas(4096) const arch::Secs contents = plain_secs();
    expect(package_->ecreate(at, info, contents, context));
  }
  EnclsResult add(Mfn page, u8 fill = 0x5a, Mfn owner = secs) {
    alignas(4096) std::array<std::byte, arch::page_size> contents;
    alignas(64) arch::Secinfo info{f::r | f::w | (u64{static_cast<u8>(PageType::reg)} << 8), {}};
    contents.fill(std::byte{fill});
    PageinfoOperand pageinfo{linear, contents, std::as_writable_bytes(std::span(&info, 1)), owner};
    return encls(EnclsLeaf::eadd, {.page = page, .pageinfo = &pageinfo});
  }
  void make_all() {
    make_secs();
    expect(add(child));
    expect(on(EnclsLeaf::epa, va));
  }
  void block() {
    expect(on(EnclsLeaf::eblock, child));
    expect(on(EnclsLeaf::etrack, secs));
  }

  /// What is outside of an evicted page.
  struct Image {
    alignas(4096) std::array<std::byte, arch::page_size> bytes{};
    alignas(128) arch::Pcmd pcmd{};
    PageinfoOperand pageinfo{0, bytes, std::as_writable_bytes(std::span(&pcmd, 1)), std::nullopt};
  };
  EnclsResult evict(Mfn page, Image& image, u32 slot) {
    image.pageinfo.linaddr = 0;
    image.pageinfo.secs = std::nullopt;
    return encls(EnclsLeaf::ewb, {.page = page, .pageinfo = &image.pageinfo, .version = VersionSlot{va, slot}});
  }
  EnclsResult load(EnclsLeaf leaf, Mfn page, Image& image, u32 slot, std::optional<Mfn> owner) {
    image.pageinfo.secs = owner;
    return encls(leaf, {.page = page, .pageinfo = &image.pageinfo, .version = VersionSlot{va, slot}});
  }
  arch::Rdinfo info(Mfn page) {
    alignas(32) arch::Rdinfo rdinfo{};
    expect(encls(EnclsLeaf::erdinfo, {.page = page, .rdinfo = &rdinfo}));
    return rdinfo;
  }
  EnclsResult enclv(EnclvLeaf leaf, Mfn page, Mfn of) { return package_->enclv(leaf, {.page = of, .child = page}); }

  std::unique_ptr<Package> package_ = backend().make_package({.epc = {{first, pages}}, .root_secret = {1}, .boot = 1});
};

TEST_P(RootLeaves, APageLeavesAndComesBackElsewhere) {
  make_all();
  Image image;
  expect(evict(child, image, 5), SgxError::page_not_blocked);
  expect(on(EnclsLeaf::eblock, child));
  expect(on(EnclsLeaf::eblock, child), SgxError::blkstate);
  expect(evict(child, image, 5), SgxError::not_tracked);
  expect(on(EnclsLeaf::etrack, secs));
  expect(evict(child, image, 5));
  EXPECT_EQ(image.pageinfo.linaddr, linear) << "an output";
  EXPECT_EQ(image.pcmd.secinfo.flags, f::r | f::w | (u64{static_cast<u8>(PageType::reg)} << 8));
  const std::byte plain{0x5a};
  EXPECT_LT(std::ranges::count(image.bytes, plain), 100) << "sealed";

  expect(load(EnclsLeaf::eldb, spare, image, 5, secs));
  EXPECT_NE(info(spare).flags & arch::rdinfo::blocked, 0u);
  expect(on(EnclsLeaf::etrack, secs));
  expect(evict(spare, image, 6));
  expect(load(EnclsLeaf::eldu, child, image, 6, secs));
  EXPECT_EQ(info(child).flags & arch::rdinfo::blocked, 0u);
  expect(load(EnclsLeaf::eldu, spare, image, 6, secs), SgxError::mac_compare_fail);
  expect(on(EnclsLeaf::eremove, spare));
}

/// A page's image is what was authenticated, or nothing.
TEST_P(RootLeaves, AChangedImageIsNotLoaded) {
  make_all();
  block();
  Image image;
  expect(evict(child, image, 0));
  image.bytes[100] ^= std::byte{1};
  expect(load(EnclsLeaf::eldu, child, image, 0, secs), SgxError::mac_compare_fail);
  image.bytes[100] ^= std::byte{1};
  expect(load(EnclsLeaf::eldu, child, image, 0, secs));
}

TEST_P(RootLeaves, ASecsGoesLastAndForgetsItsContext) {
  make_all();
  block();
  Image image, secs_image;
  expect(evict(secs, secs_image, 1), SgxError::child_present);
  expect(evict(child, image, 0));
  expect(evict(secs, secs_image, 1));
  expect(load(EnclsLeaf::eldu, spare, secs_image, 1, std::nullopt));
  EXPECT_EQ(info(spare).enclavecontext, spare.value * arch::page_size) << "the address that it was loaded at";
  expect(package_->enclv(EnclvLeaf::esetcontext, {.page = spare, .context = 0x7000}));
  EXPECT_EQ(info(spare).enclavecontext, 0x7000u);
  expect(load(EnclsLeaf::elduc, child, image, 0, spare));
  EXPECT_EQ(info(child).enclavecontext, 0x7000u);
}

/// SDM vol. 3D, 38.3, ERDINFO: what a guest does not learn.
TEST_P(RootLeaves, ErdinfoTellsOfVirtualChildren) {
  make_all();
  EXPECT_EQ(info(secs).status, arch::rdinfo::child_present);
  EXPECT_EQ(info(secs).enclavecontext, 0x7000u);
  EXPECT_EQ(info(va).enclavecontext, 0u);
  expect(enclv(EnclvLeaf::edecvirtchild, child, secs), SgxError::invalid_counter);
  expect(enclv(EnclvLeaf::eincvirtchild, child, secs));
  EXPECT_EQ(info(secs).status, arch::rdinfo::child_present | arch::rdinfo::virtual_child_present);
  expect(on(EnclsLeaf::eremove, child));
  EXPECT_EQ(info(secs).status, arch::rdinfo::virtual_child_present);
  Image image;
  expect(evict(secs, image, 0));
  expect(load(EnclsLeaf::eldu, secs, image, 0, std::nullopt));
  EXPECT_EQ(info(secs).status, arch::rdinfo::virtual_child_present) << "the count is part of the SECS";
  expect(enclv(EnclvLeaf::edecvirtchild, secs, secs));
  EXPECT_EQ(info(secs).status, 0u);
  expect(enclv(EnclvLeaf::eincvirtchild, secs, secs));
  expect(on(EnclsLeaf::eremove, secs));
}

TEST_P(RootLeaves, NoCheckIsLeftOut) {
  make_all();
  const Mfn outside = first + pages, far{~u64{0}};
  for (const Mfn nowhere : {outside, far}) {
    for (const EnclsLeaf leaf : {EnclsLeaf::eblock, EnclsLeaf::etrack, EnclsLeaf::eremove, EnclsLeaf::epa}) {
      const EnclsResult result = on(leaf, nowhere);
      EXPECT_EQ(result.fault, v::pf) << static_cast<u32>(leaf);
    }
    alignas(32) arch::Rdinfo rdinfo{};
    expect(encls(EnclsLeaf::erdinfo, {.page = nowhere, .rdinfo = &rdinfo}), SgxError::pg_nonepc);
  }
  expect_fault(on(EnclsLeaf::eblock, outside), v::pf, outside);
  expect(on(EnclsLeaf::eblock, spare), SgxError::pg_invld);
  expect(on(EnclsLeaf::eblock, secs), SgxError::pg_is_secs);
  expect(on(EnclsLeaf::eblock, va), SgxError::notblockable);
  expect_fault(on(EnclsLeaf::etrack, child), v::pf, child);
  expect_fault(on(EnclsLeaf::epa, child), v::pf, child);
  expect(on(EnclsLeaf::etrackc, spare), SgxError::pg_invld);
  expect(on(EnclsLeaf::etrackc, va), SgxError::track_not_required);
  expect(on(EnclsLeaf::etrackc, child));
  expect_fault(add(child), v::pf, child);
  expect_fault(add(spare, 0, va), v::pf, va);

  // Which of its operands a #PF is about.
  block();
  Image image;
  const auto ewb = [&](Mfn page, Mfn array, u32 slot) {
    return encls(EnclsLeaf::ewb, {.page = page, .pageinfo = &image.pageinfo, .version = VersionSlot{array, slot}});
  };
  expect_fault(ewb(spare, va, 0), v::pf, spare);
  expect_fault(ewb(child, secs, 0), v::pf, secs);
  expect_fault(ewb(child, outside, 0), v::pf, outside);
  expect_fault(ewb(child, child, 0), v::gp);
  expect_fault(ewb(child, va, 512), v::gp);
  expect(ewb(child, va, 511));
  expect_fault(enclv(EnclvLeaf::eincvirtchild, va, secs), v::pf, va);
}

TEST_P(RootLeaves, EmodtTakesItsSecinfo) {
  make_all();
  alignas(64) arch::Secinfo info{u64{static_cast<u8>(PageType::trim)} << f::page_type_shift, {}};
  const auto emodt = [&](Mfn page) { return encls(EnclsLeaf::emodt, {.page = page, .secinfo = &info}); };
  expect_fault(emodt(secs), v::pf, secs);
  expect_fault(emodt(va), v::pf, va);
  expect_fault(emodt(spare), v::pf, spare);
  expect_fault(emodt(child), v::gp);  // of an enclave that is not initialised
  expect_fault(on(EnclsLeaf::emodt, child), v::gp);
  info.flags = u64{static_cast<u8>(PageType::reg)} << f::page_type_shift;
  expect_fault(emodt(secs), v::gp);
}

/// What is not given is not there, and what is given ends where it ends.
TEST_P(RootLeaves, MemoryIsWhatWasGiven) {
  make_all();
  block();
  Image image;
  expect_fault(on(EnclsLeaf::ewb, child), v::gp);
  expect_fault(encls(EnclsLeaf::ewb, {.page = child, .pageinfo = &image.pageinfo}), v::pf);
  const auto refused = [&](auto change) {
    PageinfoOperand info = image.pageinfo;
    change(info);
    return encls(EnclsLeaf::ewb, {.page = child, .pageinfo = &info, .version = VersionSlot{va, 3}});
  };
  const std::span<std::byte> page = image.bytes;
  expect_fault(refused([&](PageinfoOperand& i) { i.source = page.first(4095); }), v::pf);
  expect_fault(refused([](PageinfoOperand& i) { i.source = {}; }), v::pf);
  expect_fault(refused([](PageinfoOperand& i) { i.secinfo = i.secinfo.first(127); }), v::pf);
  expect_fault(refused([&](PageinfoOperand& i) { i.source = page.subspan(8); }), v::gp);
  expect_fault(refused([](PageinfoOperand& i) { i.secinfo = i.secinfo.subspan(64); }), v::gp);
  expect_fault(refused([](PageinfoOperand& i) { i.linaddr = linear; }), v::gp);
  expect_fault(refused([](PageinfoOperand& i) { i.secs = secs; }), v::gp);
  expect(refused([](PageinfoOperand&) {}));
  expect_fault(on(EnclsLeaf::erdinfo, va), v::gp);
}

TEST_P(RootLeaves, OthersAreInvalid) {
  for (const EnclsLeaf leaf : {EnclsLeaf::ecreate, EnclsLeaf::einit, EnclsLeaf::edbgrd, EnclsLeaf::eextend,
                               static_cast<EnclsLeaf>(0x14), static_cast<EnclsLeaf>(~0u)}) {
    expect_fault(on(leaf, secs), v::gp);
  }
  expect_fault(package_->enclv(static_cast<EnclvLeaf>(3), {.page = secs}), v::gp);

  Package::Config config{.epc = {{first, pages}}, .root_secret = {1}, .boot = 1};
  config.features.sgx.oss = config.features.sgx.enclv = false;
  const auto plain = backend().make_package(config);
  for (const EnclsLeaf leaf : {EnclsLeaf::erdinfo, EnclsLeaf::etrackc, EnclsLeaf::eldbc, EnclsLeaf::elduc}) {
    expect_fault(plain->encls(leaf, {.page = first}), v::gp);
  }
  expect_fault(plain->enclv(EnclvLeaf::eincvirtchild, {.page = first, .child = first}), v::ud);
  expect(plain->encls(EnclsLeaf::epa, {.page = first}));
  const auto without = backend().make_package({});
  expect_fault(without->encls(EnclsLeaf::eremove, {.page = first}), v::ud);
  expect_fault(without->enclv(EnclvLeaf::eincvirtchild, {.page = first, .child = first}), v::ud);
}

/// The guest's metrics are of what its processors run.
TEST_P(RootLeaves, AreNotCounted) {
  const auto observer = package_->observe();
  ASSERT_TRUE(observer);
  make_all();
  block();
  EXPECT_EQ((*observer)->events().encls[static_cast<std::size_t>(EnclsLeaf::eblock)], 0u);
  EXPECT_EQ((*observer)->events().encls[static_cast<std::size_t>(EnclsLeaf::eadd)], 0u);
}

CLOISTER_EACH_IMPLEMENTATION(RootLeaves);

}  // namespace
}  // namespace cloister::vmx
