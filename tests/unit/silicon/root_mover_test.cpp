// The leaves that move a package's root from one machine to another (docs/vendor-leaves.md): each check, and what runs
// when. Two packages with one platform's keys stand for the two machines.
#include "silicon/sgx/leaves/root_mover.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "sgx_bench.hpp"
#include "silicon/sgx/keys/root_crypto.hpp"
#include "silicon/sgx/leaves/measurement.hpp"

namespace cloister::silicon {
namespace {

using arch::EnclsLeaf;
using arch::EnclvLeaf;
using vmx::MoveError;
using vmx::MoveSession;
using vmx::MoveToken;
using vmx::RootImage;

constexpr arch::Mfn frame(u32 index) { return arch::Mfn{0x8000u + index}; }
constexpr MoveToken token_of_source{1, 7}, token_of_target{2, 7};

MoveSession session_of(u8 id, const MoveToken& token) {
  return {.id = {id}, .domain = {9, 9}, .key = {3, id}, .token_digest = sha256(token)};
}
MoveSession at_source(u8 id = 1) { return session_of(id, token_of_source); }
MoveSession at_target(u8 id = 1) { return session_of(id, token_of_target); }

/// A machine's package with the domain's platform, whose counters are its own.
struct Side {
  explicit Side(arch::Bytes32 root = {1, 2, 3}, u64 boot = 1)
      : counters(*MachineCounters::create(boot)),
        package(
            {.epc = {{frame(0), 16}}, .counters = counters, .root_secret = root, .paging_secret = arch::Bytes32{4}}) {}

  EnclsResult run(EnclsLeaf leaf, u32 page) { return package.encls(leaf, {.page = frame(page)}); }
  bool is_valid(u32 page) { return package.impl().epcm(page).valid; }
  vmx::RootMover& mover() { return *package.root_mover(); }

  MachineCounters::Pointer counters;
  Package package;
};

/// A page outside EPC.
struct Evicted {
  alignas(arch::page_size) std::array<std::byte, arch::page_size> page{};
  alignas(128) std::array<std::byte, 128> pcmd{};
};

bool evict(Side& side, u32 page, u32 va, u32 slot, Evicted& to) {
  vmx::PageinfoOperand info{.source = to.page, .secinfo = to.pcmd};
  const EnclsResult result = side.package.encls(
      EnclsLeaf::ewb, {.page = frame(page), .pageinfo = &info, .version = vmx::VersionSlot{frame(va), slot}});
  return !result.fault && result.rax == 0;
}
EnclsResult load(Side& side, u32 page, u32 va, u32 slot, Evicted& from) {
  vmx::PageinfoOperand info{.source = from.page, .secinfo = from.pcmd};
  return side.package.encls(EnclsLeaf::eldu,
                            {.page = frame(page), .pageinfo = &info, .version = vmx::VersionSlot{frame(va), slot}});
}

/// A source whose one page is the root, in frame 0, of a version array that is evicted to its slot 5.
class RootMove : public testing::Test {
 protected:
  RootMove() {
    EXPECT_FALSE(source.run(EnclsLeaf::epa, 0).fault);
    EXPECT_FALSE(source.run(EnclsLeaf::epa, 1).fault);
    EXPECT_TRUE(evict(source, 1, 0, 5, array));
  }
  RootImage exported(u8 id = 1) {
    const auto image = source.mover().export_root(frame(0), at_source(id));
    EXPECT_TRUE(image) << static_cast<int>(image.error());
    return image.value_or(RootImage{});
  }
  MoveError export_error(const MoveSession& session = at_source(), u32 page = 0) {
    const auto image = source.mover().export_root(frame(page), session);
    EXPECT_FALSE(image);
    return image ? MoveError{} : image.error();
  }
  static MoveError import_error(Side& to, const RootImage& image, const MoveSession& session = at_target(),
                                u32 page = 3) {
    const auto done = to.mover().import_root(frame(page), image, session);
    EXPECT_FALSE(done);
    EXPECT_FALSE(page < 16 && to.is_valid(page));
    return done ? MoveError{} : done.error();
  }

  Side source, target;
  Evicted array;
};

TEST_F(RootMove, WhatWasEvictedIsLoadedAtTheTargetOnce) {
  const RootImage image = exported();
  ASSERT_TRUE(target.mover().import_root(frame(3), image, at_target()));
  EXPECT_FALSE(load(target, 4, 3, 5, array).fault);
  EXPECT_TRUE(target.is_valid(4));
  EXPECT_NE(load(target, 6, 3, 5, array).rax, 0u) << "its slot is empty now";
  ASSERT_TRUE(target.mover().commit_import(token_of_target));
  Evicted again;
  EXPECT_TRUE(evict(target, 4, 3, 5, again));
  EXPECT_NE(again.page, array.page) << "another version";
}

TEST_F(RootMove, CountersGoOnAtTheTarget) {
  for (int i = 0; i < 100; ++i) source.package.impl().keys().next_version();
  const u64 eid = source.package.impl().keys().next_eid(), version = source.package.impl().keys().next_version();
  ASSERT_TRUE(target.mover().import_root(frame(3), exported(), at_target()));
  EXPECT_EQ(target.package.impl().keys().next_eid(), eid + 1);
  EXPECT_EQ(target.package.impl().keys().next_version(), version + 1);

  Side ahead;
  for (int i = 0; i < 1000; ++i) ahead.counters->next_version();
  ASSERT_TRUE(source.mover().unlatch(token_of_source));
  ASSERT_TRUE(ahead.mover().import_root(frame(3), exported(2), at_target(2)));
  EXPECT_EQ(ahead.counters->next_version(), 1001u) << "never back";
}

TEST_F(RootMove, TheSourceIsLatchedUntilItsTokenComes) {
  exported();
  for (const EnclsLeaf leaf : {EnclsLeaf::epa, EnclsLeaf::eldu, EnclsLeaf::ewb, EnclsLeaf::eadd, EnclsLeaf::etrack})
    EXPECT_EQ(source.run(leaf, 2).fault, arch::vector::gp) << static_cast<int>(leaf);
  EXPECT_EQ(source.package.enclv(EnclvLeaf::eincvirtchild, {.page = frame(0), .child = frame(0)}).fault,
            source.package.impl().features().enclv ? arch::vector::gp : arch::vector::ud);
  EXPECT_EQ(load(source, 2, 0, 5, array).fault, arch::vector::gp);
  arch::Secinfo secinfo{};
  arch::Secs secs{};
  EXPECT_EQ(source.package.ecreate(frame(2), secinfo, secs, arch::Gpa{}).fault, arch::vector::gp);
  EXPECT_EQ(export_error(at_source(2)), MoveError::latched);
  EXPECT_EQ(source.mover().unlatch(token_of_target).error(), MoveError::wrong_token);
  EXPECT_EQ(source.mover().commit_import(token_of_source).error(), MoveError::latched);
  EXPECT_EQ(source.mover().abort_import().error(), MoveError::latched);

  ASSERT_TRUE(source.mover().unlatch(token_of_source));
  EXPECT_EQ(source.mover().unlatch(token_of_source).error(), MoveError::latched) << "nothing is latched";
  EXPECT_FALSE(load(source, 2, 0, 5, array).fault);
}

TEST_F(RootMove, ALatchedPackageIsEmptiedByEremove) {
  exported();
  EXPECT_FALSE(source.run(EnclsLeaf::eremove, 0).fault);
  EXPECT_FALSE(source.is_valid(0));
}

TEST_F(RootMove, ASourceStartsOverWithOtherKeys) {
  const RootImage image = exported();
  const PlatformKeys& keys = source.package.impl().keys();
  const auto before = keys.derive({});
  const auto keyid = keys.report_keyid();
  const auto paging = keys.paging_key();
  const u64 version = source.counters->next_version();
  const vmx::PlatformSecrets others{.root = {8}, .paging = {9}, .boot = 77};
  {
    const Held leaf(source.package.impl().root_leaves(), LockMode::shared);
    EXPECT_EQ(source.mover().start_over(others).error(), MoveError::package_busy);
  }
  EXPECT_EQ(source.mover().start_over(others).error(), MoveError::not_alone);
  EXPECT_FALSE(source.run(EnclsLeaf::eremove, 0).fault);
  ASSERT_TRUE(source.mover().start_over(others));
  EXPECT_NE(keys.derive({}), before);
  EXPECT_NE(keys.report_keyid(), keyid);
  EXPECT_NE(keys.paging_key(), paging);
  EXPECT_EQ(source.counters->next_version(), version + 1);
  EXPECT_EQ(source.mover().unlatch(token_of_source).error(), MoveError::latched) << "nothing is latched";
  EXPECT_FALSE(source.run(EnclsLeaf::epa, 0).fault);
  EXPECT_NE(load(source, 2, 0, 5, array).rax, 0u) << "what was evicted is lost";
  EXPECT_FALSE(source.run(EnclsLeaf::eremove, 0).fault);
  EXPECT_EQ(import_error(source, image, at_target(2)), MoveError::not_authentic);
  EXPECT_EQ(import_error(source, image, at_target()), MoveError::session_used);
}

TEST_F(RootMove, TheTargetOnlyLoadsBeforeItIsCommitted) {
  ASSERT_TRUE(target.mover().import_root(frame(3), exported(), at_target()));
  EXPECT_EQ(target.run(EnclsLeaf::epa, 4).fault, arch::vector::gp);
  Evicted nothing;
  EXPECT_FALSE(evict(target, 3, 3, 6, nothing));
  EXPECT_FALSE(load(target, 4, 3, 5, array).fault);
  EXPECT_EQ(import_error(target, RootImage{}, at_target(2), 5), MoveError::latched);
  EXPECT_EQ(target.mover().unlatch(token_of_target).error(), MoveError::latched);
  EXPECT_EQ(target.mover().commit_import(token_of_source).error(), MoveError::wrong_token);
  ASSERT_TRUE(target.mover().commit_import(token_of_target));
  EXPECT_FALSE(target.run(EnclsLeaf::epa, 5).fault);
}

TEST_F(RootMove, AnAbortedTargetHasNothingLeft) {
  ASSERT_TRUE(target.mover().import_root(frame(3), exported(), at_target()));
  EXPECT_FALSE(load(target, 4, 3, 5, array).fault);
  {
    const Held leaf(target.package.impl().root_leaves(), LockMode::shared);
    EXPECT_EQ(target.mover().abort_import().error(), MoveError::package_busy);
  }
  EXPECT_EQ(target.mover().start_over({}).error(), MoveError::latched);
  ASSERT_TRUE(target.mover().abort_import());
  EXPECT_EQ(target.mover().start_over({}).error(), MoveError::latched);
  EXPECT_FALSE(target.is_valid(3));
  const u8* const page = target.package.impl().page(3);
  EXPECT_TRUE(std::all_of(page, page + arch::page_size, [](u8 byte) { return byte == 0; }));
  EXPECT_EQ(target.package.impl().keys().paging_key(), arch::Bytes16{});
  EXPECT_EQ(target.mover().commit_import(token_of_target).error(), MoveError::latched) << "for good";
  EXPECT_EQ(target.run(EnclsLeaf::epa, 5).fault, arch::vector::gp);
  EXPECT_FALSE(target.run(EnclsLeaf::eremove, 4).fault);
}

// ---------------------------------------------------------------------------------------------- checks, in their order

TEST_F(RootMove, ExportChecks) {
  {
    const Held leaf(source.package.impl().leaves(), LockMode::shared);
    EXPECT_EQ(export_error(), MoveError::package_busy) << "a guest's";
  }
  {
    const Held leaf(source.package.impl().root_leaves(), LockMode::shared);
    EXPECT_EQ(export_error(), MoveError::package_busy) << "root mode's";
  }
  EXPECT_EQ(export_error(at_source(), 16), MoveError::not_epc);
  EXPECT_EQ(export_error(at_source(), 7), MoveError::not_root) << "free";
  EXPECT_FALSE(source.run(EnclsLeaf::epa, 1).fault);
  EXPECT_EQ(export_error(), MoveError::not_alone);
  EXPECT_FALSE(source.run(EnclsLeaf::eremove, 1).fault);
  source.package.impl().epcm(0).type = arch::PageType::reg;
  EXPECT_EQ(export_error(), MoveError::not_root) << "no version array";
  source.package.impl().epcm(0).type = arch::PageType::va;

  exported();
  ASSERT_TRUE(source.mover().unlatch(token_of_source));
  EXPECT_EQ(export_error(at_source()), MoveError::session_used);
  exported(2);
}

TEST_F(RootMove, ImportChecks) {
  const RootImage image = exported();
  {
    const Held leaf(target.package.impl().leaves(), LockMode::shared);
    EXPECT_EQ(import_error(target, image), MoveError::package_busy) << "a guest's";
  }
  {
    const Held leaf(target.package.impl().root_leaves(), LockMode::shared);
    EXPECT_EQ(import_error(target, image), MoveError::package_busy) << "root mode's";
  }
  EXPECT_EQ(import_error(target, image, at_target(), 16), MoveError::not_epc);
  EXPECT_FALSE(target.run(EnclsLeaf::epa, 1).fault);
  EXPECT_EQ(import_error(target, image), MoveError::not_alone);
  EXPECT_FALSE(target.run(EnclsLeaf::eremove, 1).fault);

  MoveSession other = at_target();
  other.domain[0] ^= 1;
  EXPECT_EQ(import_error(target, image, other), MoveError::not_authentic) << "another domain's";
  EXPECT_EQ(import_error(target, image, at_target(2)), MoveError::not_authentic) << "another session's";
  other = at_target();
  other.id[5] ^= 1;
  EXPECT_EQ(import_error(target, image, other), MoveError::not_authentic) << "the same key, another session";

  Side stranger({7}), later({1, 2, 3}, 2);
  EXPECT_EQ(import_error(stranger, image), MoveError::other_platform);
  EXPECT_EQ(import_error(later, image), MoveError::other_platform) << "of another power-on";

  ASSERT_TRUE(target.mover().import_root(frame(3), image, at_target()));
  ASSERT_TRUE(target.mover().commit_import(token_of_target));
  EXPECT_FALSE(target.run(EnclsLeaf::eremove, 3).fault);
  EXPECT_EQ(import_error(target, image), MoveError::session_used) << "imported once";
}

TEST_F(RootMove, NoByteOfAnImageMayChange) {
  RootImage image = exported();
  for (std::size_t at = 0; at < image.size(); at += at % 64 == 0 ? 1 : 63) {
    image[at] ^= 0x10;
    EXPECT_EQ(import_error(target, image), MoveError::not_authentic) << at;
    image[at] ^= 0x10;
  }
  EXPECT_TRUE(target.mover().import_root(frame(3), image, at_target()));
}

// Sealed by another build, whose root is another: its first word says which (root_mover.cpp).
TEST_F(RootMove, AnImageOfAnotherLayoutIsRefused) {
  const MoveSession session = at_target();
  struct {
    u64 magic = 0x746f'6f72'636c'7367;
    arch::Bytes16 session{}, domain{};
  } header{.session = session.id, .domain = session.domain};
  const std::span aad(reinterpret_cast<const u8*>(&header), sizeof header);
  RootImage image = exported();
  std::array<u8, vmx::root_image_bytes - sizeof(arch::Bytes16)> root;
  arch::Bytes16 tag;
  std::ranges::copy(std::span(image).last<sizeof tag>(), tag.begin());
  ASSERT_TRUE(open_root(session.key, aad, std::span(image).first<sizeof root>(), tag, root));
  root[0] += 1;
  tag = seal_root(session.key, aad, root, image.data());
  std::ranges::copy(tag, image.end() - sizeof tag);
  EXPECT_EQ(import_error(target, image), MoveError::not_authentic);
}

TEST_F(RootMove, AnImageShowsNoVersion) {
  const RootImage image = exported();
  u64 version = 0;
  std::memcpy(&version, source.package.impl().page(0) + 5 * sizeof version, sizeof version);
  ASSERT_NE(version, 0u);
  const auto* const bytes = reinterpret_cast<const u8*>(&version);
  EXPECT_EQ(std::search(image.begin(), image.end(), bytes, bytes + sizeof version), image.end());
}

// An image of a platform whose CPUSVN is that of newer microcode than this package's.
TEST_F(RootMove, ATargetWithOlderMicrocodeRefuses) {
  arch::Bytes16 newer = PlatformKeys::microcode;
  newer[0] += 1;
  source.package.impl().keys().power_on(newer);
  EXPECT_EQ(import_error(target, exported()), MoveError::cpusvn);
}

TEST_F(RootMove, CpusvnIsTheDomains) {
  source.package.impl().keys().power_on({});
  ASSERT_TRUE(target.mover().import_root(frame(3), exported(), at_target()));
  EXPECT_EQ(target.package.impl().keys().cpusvn(), arch::Bytes16{});
}

}  // namespace
}  // namespace cloister::silicon
