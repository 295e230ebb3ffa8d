// Changes to the pages of an initialised enclave (SDM vol. 3D, 36.5.7 to 36.5.11; 38.3: EAUG, EMODPR, EMODT; 38.4:
// EACCEPT, EACCEPTCOPY, EMODPE).
#include "sgx_bench.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
using arch::SgxError;
namespace f = arch::secinfo_flags;

class Sgx2 : public SgxBench {
 protected:
  static constexpr u32 owner = 0, own_data = 1, page = 2, source = 3;
  static constexpr u64 pageinfo = ram, secinfo = ram + 0x100;

  Sgx2() {
    make_secs(owner);
    make_child(own_data, owner);
  }

  void put_secinfo(u64 flags) { put(secinfo, arch::Secinfo{flags, {}}); }
  Seen add(u32 index) {
    put(pageinfo, arch::Pageinfo{at(index), 0, 0, at(owner)});
    return call(eaug, pageinfo, at(index));
  }
  Seen restrict_to(u32 index, u64 flags) {
    put_secinfo(flags);
    return call(emodpr, secinfo, at(index));
  }
  Seen change_to(u32 index, PageType type) {
    put_secinfo(flags_of(type, 0));
    return call(emodt, secinfo, at(index));
  }
  /// A leaf of ENCLU with this SECINFO in the enclave's own page.
  Seen inside(Leaf leaf, u64 flags, u64 rcx, u64 rdx = 0) {
    const arch::Secinfo s{flags, {}};
    std::memcpy(bytes(own_data), &s, sizeof s);
    go_inside(owner);
    const Seen seen = call(leaf, at(own_data), rcx, rdx);
    go_outside();
    return seen;
  }
};

// ------------------------------------------------------------------------------------------------ EAUG and EACCEPT

TEST_F(Sgx2, AnAddedPageWaitsForTheEnclave) {
  std::memset(bytes(page), 0xcc, arch::page_size);
  const Seen added = add(page);
  ASSERT_TRUE(added.ok()) << added;
  EXPECT_FALSE(added.code);
  EXPECT_EQ(secinfo_flags_of(entry(page)), flags_of(PageType::reg, f::r | f::w | f::pending));
  EXPECT_EQ(entry(page).secs, owner);
  EXPECT_EQ(entry(page).enclave_address, at(page));
  EXPECT_EQ(entry(owner).children, 2u);
  EXPECT_EQ(std::count(bytes(page), bytes(page) + arch::page_size, 0), static_cast<long>(arch::page_size));
  EXPECT_TRUE(add(page).pf(at(page))) << "not free any more";

  EXPECT_TRUE(
      inside(eaccept, flags_of(PageType::reg, f::r | f::pending), at(page)).zf(SgxError::page_attributes_mismatch));
  ASSERT_TRUE(inside(eaccept, flags_of(PageType::reg, f::r | f::w | f::pending), at(page)).ok())
      << "no tracking is needed";
  EXPECT_FALSE(entry(page).pending);
  EXPECT_EQ(rights_of(entry(page)), f::r | f::w);
  EXPECT_TRUE(inside(eaccept, flags_of(PageType::reg, f::r | f::w | f::pending), at(page))
                  .zf(SgxError::page_attributes_mismatch));
}

TEST_F(Sgx2, EaugChecksInOrder) {
  const auto with = [&](arch::Pageinfo info) {
    put(pageinfo, info);
    return call(eaug, pageinfo, at(page));
  };
  put(pageinfo, arch::Pageinfo{at(page), 0, 0, at(owner)});
  EXPECT_TRUE(call(eaug, pageinfo + 8, at(page)).gp());
  EXPECT_TRUE(call(eaug, pageinfo, at(page) + 8).gp());
  EXPECT_TRUE(call(eaug, pageinfo, ram).pf(ram));
  EXPECT_TRUE(with({at(page), 0, secinfo + 8, at(owner)}).gp());
  EXPECT_TRUE(with({at(page), 0, 0, at(owner) + 8}).gp());
  EXPECT_TRUE(with({at(page) + 8, 0, 0, at(owner)}).gp());
  EXPECT_TRUE(with({at(page), ram, 0, at(owner)}).gp()) << "SRCPGE must be 0";
  EXPECT_TRUE(with({at(page), 0, 0, ram}).pf(ram));
  put_secinfo(flags_of(PageType::reg, f::r | f::w));
  EXPECT_TRUE(with({at(page), 0, secinfo, at(owner)}).gp()) << "a SECINFO is for shadow stacks";
  EXPECT_TRUE(with({at(page), 0, 0, at(own_data)}).pf(at(own_data))) << "not a SECS";
  EXPECT_TRUE(with({at(page), 0, 0, at(source)}).pf(at(source))) << "not valid";
  EXPECT_TRUE(with({epc + elrange_bytes, 0, 0, at(owner)}).gp());
  EXPECT_TRUE(with({epc - arch::page_size, 0, 0, at(owner)}).gp());
  secs(owner).architectural.attributes.flags &= ~arch::attributes::init;
  EXPECT_TRUE(add(page).gp()) << "not initialised";
  EXPECT_FALSE(entry(page).valid);
  EXPECT_EQ(entry(owner).children, 1u);
}

TEST_F(Sgx2, AcceptcopyFillsAnAddedPage) {
  const u64 rx = flags_of(PageType::reg, f::r | f::x);
  make_child(source, owner, PageType::reg, f::r, 0x77);
  ASSERT_TRUE(add(page).ok());
  ASSERT_TRUE(inside(eacceptcopy, rx, at(page), at(source)).ok());
  EXPECT_EQ(secinfo_flags_of(entry(page)), rx);
  EXPECT_EQ(std::count(bytes(page), bytes(page) + arch::page_size, 0x77), static_cast<long>(arch::page_size));
  EXPECT_TRUE(inside(eacceptcopy, rx, at(page), at(source)).zf(SgxError::page_attributes_mismatch))
      << "not pending any more";
}

TEST_F(Sgx2, AcceptcopyChecksInOrder) {
  const u64 rw = flags_of(PageType::reg, f::r | f::w);
  make_child(source, owner, PageType::reg, f::r);
  ASSERT_TRUE(add(page).ok());
  const u64 outside = ram;
  EXPECT_TRUE(inside(eacceptcopy, rw, at(page) + 8, at(source)).gp());
  EXPECT_TRUE(inside(eacceptcopy, rw, at(page), at(source) + 8).gp());
  EXPECT_TRUE(inside(eacceptcopy, rw, outside, at(source)).gp()) << "outside ELRANGE";
  EXPECT_TRUE(inside(eacceptcopy, rw, at(page), outside).gp());
  EXPECT_TRUE(inside(eacceptcopy, rw | u64{1} << 40, at(page), at(source)).gp());
  EXPECT_TRUE(inside(eacceptcopy, flags_of(PageType::reg, f::w), at(page), at(source)).gp()) << "W without R";
  EXPECT_TRUE(inside(eacceptcopy, flags_of(PageType::tcs, f::r), at(page), at(source)).gp());
  EXPECT_TRUE(inside(eacceptcopy, rw, at(page), at(page)).pf(at(page))) << "the source is pending";
  entry(source).read = false;
  EXPECT_TRUE(inside(eacceptcopy, rw, at(page), at(source)).pf(at(source)));
  entry(source).read = true;
  const auto mismatch = [&](const char* what) {
    EXPECT_TRUE(inside(eacceptcopy, rw, at(page), at(source)).zf(SgxError::page_attributes_mismatch)) << what;
  };
  entry(page).blocked = true, mismatch("blocked"), entry(page).blocked = false;
  entry(page).modified = true, mismatch("modified"), entry(page).modified = false;
  entry(page).execute = true, mismatch("rights"), entry(page).execute = false;
  entry(page).enclave_address += arch::page_size, mismatch("address"), entry(page).enclave_address = at(page);
  entry(page).secs = 9, mismatch("owner"), entry(page).secs = owner;
  entry(page).valid = false, mismatch("valid"), entry(page).valid = true;
  EXPECT_TRUE(inside(eacceptcopy, rw, at(page), at(source)).ok());
}

// ------------------------------------------------------------------------------------------------ EMODPR, EMODPE

TEST_F(Sgx2, ARestrictionHoldsWhenItIsTracked) {
  make_child(page, owner, PageType::reg, f::rwx);
  go_inside(owner);  // an old thread
  const u64 thread = cpu.enclave.epoch;
  cpu.enclave = {};
  cpu.cpl = 0;
  ASSERT_TRUE(restrict_to(page, f::r | f::w).ok()) << "PAGE_TYPE is not looked at";
  EXPECT_EQ(secinfo_flags_of(entry(page)), flags_of(PageType::reg, f::r | f::w | f::pr));
  const u64 request = flags_of(PageType::reg, f::r | f::w | f::pr);
  EXPECT_TRUE(inside(eaccept, request, at(page)).zf(SgxError::not_tracked));
  ASSERT_TRUE(call(etrack, 0, at(owner)).ok());
  EXPECT_TRUE(inside(eaccept, request, at(page)).zf(SgxError::not_tracked)) << "the old thread is inside";
  leave_enclave(entry(owner), thread);
  EXPECT_TRUE(inside(eaccept, request, at(page)).ok());
  EXPECT_EQ(secinfo_flags_of(entry(page)), flags_of(PageType::reg, f::r | f::w));
  ASSERT_TRUE(restrict_to(page, f::rwx).ok());
  EXPECT_EQ(rights_of(entry(page)), f::r | f::w) << "EMODPR takes, it does not give";
}

TEST_F(Sgx2, EmodprChecksInOrder) {
  make_child(page, owner);
  put_secinfo(f::r);
  EXPECT_TRUE(call(emodpr, secinfo + 8, at(page)).gp());
  EXPECT_TRUE(call(emodpr, secinfo, at(page) + 8).gp());
  EXPECT_TRUE(call(emodpr, secinfo, ram).pf(ram));
  EXPECT_TRUE(restrict_to(page, f::r | u64{1} << 6).gp());
  EXPECT_TRUE(restrict_to(page, f::w).gp()) << "W without R";
  put(secinfo, arch::Secinfo{f::r, {1}});
  EXPECT_TRUE(call(emodpr, secinfo, at(page)).gp());
  EXPECT_TRUE(restrict_to(source, f::r).pf(at(source))) << "not valid";
  entry(page).pending = true;
  EXPECT_TRUE(restrict_to(page, f::r).zf(SgxError::page_not_modifiable));
  entry(page).pending = false;
  entry(page).modified = true;
  EXPECT_TRUE(restrict_to(page, f::r).zf(SgxError::page_not_modifiable));
  entry(page).modified = false;
  entry(page).type = PageType::tcs;
  EXPECT_TRUE(restrict_to(page, f::r).pf(at(page)));
  entry(page).type = PageType::reg;
  secs(owner).architectural.attributes.flags = 0;
  EXPECT_TRUE(restrict_to(page, f::r).gp());
  EXPECT_EQ(secinfo_flags_of(entry(page)), flags_of(PageType::reg, 3));
}

TEST_F(Sgx2, EmodpeGivesRights) {
  make_child(page, owner, PageType::reg, f::r);
  const Seen extended = inside(emodpe, flags_of(PageType::reg, f::x), at(page));
  ASSERT_TRUE(extended.ok()) << extended;
  EXPECT_FALSE(extended.code) << "RAX and the flags are unchanged";
  EXPECT_EQ(rights_of(entry(page)), f::r | f::x);

  EXPECT_TRUE(inside(emodpe, f::r, at(page) + 8).gp());
  EXPECT_TRUE(inside(emodpe, f::r, ram).gp()) << "outside ELRANGE";
  EXPECT_TRUE(inside(emodpe, f::r | u64{1} << 7, at(page)).gp());
  EXPECT_TRUE(inside(emodpe, f::r, at(source)).pf(at(source))) << "not valid";
  entry(page).blocked = true;
  EXPECT_TRUE(inside(emodpe, f::r, at(page)).pf(at(page)));
  entry(page).blocked = false;
  entry(page).pending = true;
  EXPECT_TRUE(inside(emodpe, f::r, at(page)).pf(at(page)));
  entry(page).pending = false;
  entry(page).enclave_address += arch::page_size;
  EXPECT_TRUE(inside(emodpe, f::r, at(page)).pf(at(page)));
  entry(page).enclave_address = at(page);
  set_rights(entry(page), 0);
  EXPECT_TRUE(inside(emodpe, f::w, at(page)).gp()) << "W without R";
  entry(own_data).read = false;
  EXPECT_TRUE(inside(emodpe, f::r, at(page)).pf(at(own_data)));
}

// ------------------------------------------------------------------------------------------------ EMODT

TEST_F(Sgx2, ATrimmedPageIsAccepted) {
  make_child(page, owner);
  ASSERT_TRUE(change_to(page, PageType::trim).ok());
  const u64 request = flags_of(PageType::trim, f::modified);
  EXPECT_EQ(secinfo_flags_of(entry(page)), request) << "no rights are left";
  EXPECT_TRUE(inside(eaccept, request, at(page)).zf(SgxError::not_tracked));
  ASSERT_TRUE(call(etrack, 0, at(owner)).ok());
  EXPECT_TRUE(inside(eaccept, flags_of(PageType::tcs, f::modified), at(page)).zf(SgxError::page_attributes_mismatch));
  EXPECT_TRUE(inside(eaccept, request, at(page)).ok());
  EXPECT_EQ(secinfo_flags_of(entry(page)), flags_of(PageType::trim, 0));
}

TEST_F(Sgx2, APageThatBecomesATcsMustLookLikeOne) {
  make_child(page, owner);
  auto& tcs = *reinterpret_cast<arch::Tcs*>(bytes(page));
  tcs.nssa = 1;
  ASSERT_TRUE(change_to(page, PageType::tcs).ok());
  ASSERT_TRUE(call(etrack, 0, at(owner)).ok());
  const auto accept = [&] { return inside(eaccept, flags_of(PageType::tcs, f::modified), at(page)); };
  const arch::Tcs good = tcs;
  const auto refused = [&](auto&& spoil) {
    spoil();
    const bool gp = accept().gp();
    tcs = good;
    return gp;
  };
  EXPECT_TRUE(refused([&] { tcs.reserved[4000] = 1; }));
  EXPECT_TRUE(refused([&] { tcs.flags = 1u << 5; }));
  EXPECT_TRUE(refused([&] { tcs.flags = arch::tcs_flags::dbgoptin; }));
  EXPECT_TRUE(refused([&] { tcs.cssa = 1; }));
  EXPECT_TRUE(refused([&] { tcs.aep = 8; }));
  EXPECT_TRUE(refused([&] { tcs.state = 1; }));
  secs(owner).architectural.attributes.flags &= ~arch::attributes::mode64bit;
  EXPECT_TRUE(accept().gp()) << "limits of whole pages outside 64-bit mode";
  tcs.fslimit = tcs.gslimit = 0xfff;
  EXPECT_TRUE(accept().ok());
  EXPECT_FALSE(entry(page).modified);
}

TEST_F(Sgx2, EmodtChecksInOrder) {
  make_child(page, owner);
  put_secinfo(flags_of(PageType::trim, 0));
  EXPECT_TRUE(call(emodt, secinfo + 8, at(page)).gp());
  EXPECT_TRUE(call(emodt, secinfo, at(page) + 8).gp());
  EXPECT_TRUE(call(emodt, secinfo, ram).pf(ram));
  EXPECT_TRUE(change_to(page, PageType::reg).gp());
  EXPECT_TRUE(change_to(page, PageType::va).gp());
  put_secinfo(flags_of(PageType::trim, u64{1} << 20));
  EXPECT_TRUE(call(emodt, secinfo, at(page)).gp());
  EXPECT_TRUE(change_to(source, PageType::trim).pf(at(source))) << "not valid";
  EXPECT_TRUE(change_to(owner, PageType::trim).pf(at(owner)));
  entry(page).type = PageType::tcs;
  EXPECT_TRUE(change_to(page, PageType::tcs).pf(at(page)));
  entry(page).type = PageType::trim;
  EXPECT_TRUE(change_to(page, PageType::trim).pf(at(page)));
  entry(page).type = PageType::reg;
  entry(page).pending = true;
  EXPECT_TRUE(change_to(page, PageType::trim).zf(SgxError::page_not_modifiable));
  entry(page).pending = false;
  entry(page).modified = true;
  EXPECT_TRUE(change_to(page, PageType::trim).zf(SgxError::page_not_modifiable));
  entry(page).modified = false;
  secs(owner).architectural.attributes.flags = 0;
  EXPECT_TRUE(change_to(page, PageType::trim).gp());
  EXPECT_EQ(secinfo_flags_of(entry(page)), flags_of(PageType::reg, 3));
}

// ------------------------------------------------------------------------------------------------ EACCEPT

TEST_F(Sgx2, EacceptTakesOnlyWhatTheSystemCanHaveDone) {
  make_child(page, owner);
  const u64 illegal[] = {
      flags_of(PageType::reg, 3),
      flags_of(PageType::reg, 3 | f::pending | f::modified),
      flags_of(PageType::tcs, 0),
      flags_of(PageType::tcs, f::modified | f::pending),
      flags_of(PageType::trim, f::modified | f::pr),
      flags_of(PageType::secs, f::modified),
      flags_of(PageType::va, f::pending),
      flags_of(PageType::ss_first, f::pending),
  };
  for (const u64 flags : illegal) EXPECT_TRUE(inside(eaccept, flags, at(page)).gp()) << std::hex << flags;
}

TEST_F(Sgx2, EacceptChecksInOrder) {
  const u64 request = flags_of(PageType::reg, 3 | f::pending);
  ASSERT_TRUE(add(page).ok());
  EXPECT_TRUE(inside(eaccept, request | u64{1} << 6, at(page)).gp());
  EXPECT_TRUE(inside(eaccept, request, at(page) + 8).gp());
  EXPECT_TRUE(inside(eaccept, request, ram).gp());
  EXPECT_TRUE(inside(eaccept, request, at(pages)).exit) << "nothing is mapped there";
  EXPECT_TRUE(inside(eaccept, request, at(source)).pf(at(source))) << "not valid";
  EXPECT_TRUE(inside(eaccept, request, at(owner)).pf(at(owner)));
  entry(page).blocked = true;
  EXPECT_TRUE(inside(eaccept, request, at(page)).pf(at(page)));
  entry(page).blocked = false;
  entry(page).secs = 9;
  EXPECT_TRUE(inside(eaccept, request, at(page)).pf(at(page)));
  entry(page).secs = owner;
  entry(page).enclave_address += arch::page_size;
  EXPECT_TRUE(inside(eaccept, request, at(page)).zf(SgxError::page_attributes_mismatch));
  entry(page).enclave_address = at(page);
  go_inside(owner);
  EXPECT_TRUE(call(eaccept, at(own_data) + 8, at(page)).gp());
  EXPECT_TRUE(call(eaccept, ram, at(page)).gp()) << "SECINFO outside ELRANGE";
  go_outside();
  entry(own_data).pending = true;
  EXPECT_TRUE(inside(eaccept, request, at(page)).pf(at(own_data)));
  entry(own_data).pending = false;
  EXPECT_TRUE(inside(eaccept, request, at(page)).ok());
}

}  // namespace
}  // namespace cloister::silicon
