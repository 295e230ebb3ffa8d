// Leaves that meet another one on the same page (SDM vol. 3D, the tables "concurrency restrictions" in 38.3 to 38.5):
// each row holds one lock of a page in the way that the other leaf would.
#include "sgx_bench.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
using arch::SgxError;
namespace f = arch::secinfo_flags;

enum class Outcome { gp, code7, done };

struct Row {
  const char* name;
  Leaf leaf;
  enum Operand { secs, va, child, free_page, own_data } page;
  PageLock EpcmEntry::*lock;
  LockMode held;
  Outcome plain;
  std::optional<SgxConflict> virtualized = std::nullopt;  ///< none: as without the extensions
};

constexpr auto shared = LockMode::shared, exclusive = LockMode::exclusive;
constexpr auto base = &EpcmEntry::lock, sgx2 = &EpcmEntry::sgx2_lock, build = &EpcmEntry::build_lock,
               track = &EpcmEntry::track_lock;

constexpr Row rows[] = {
    {"EPA of a free page", epa, Row::free_page, base, shared, Outcome::gp, SgxConflict::page_exception},
    {"EBLOCK, page exclusive", eblock, Row::child, base, exclusive, Outcome::code7},
    {"EBLOCK, page shared", eblock, Row::child, base, shared, Outcome::done},
    {"ETRACK, SECS exclusive", etrack, Row::secs, base, exclusive, Outcome::gp},
    {"ETRACK, SECS shared", etrack, Row::secs, base, shared, Outcome::done},
    {"ETRACK, facility", etrack, Row::secs, track, exclusive, Outcome::gp, SgxConflict::tracking_resource},
    {"ETRACKC, page exclusive", etrackc, Row::child, base, exclusive, Outcome::code7},
    {"ETRACKC, SECS exclusive", etrackc, Row::secs, base, exclusive, Outcome::done},
    {"ETRACKC, facility", etrackc, Row::secs, track, exclusive, Outcome::code7, SgxConflict::tracking_resource},
    {"EWB, page shared", ewb, Row::child, base, shared, Outcome::gp, SgxConflict::page_exception},
    {"EWB, VA exclusive", ewb, Row::va, base, exclusive, Outcome::gp},
    {"EWB, VA shared", ewb, Row::va, base, shared, Outcome::done},
    {"EWB, VA's slots", ewb, Row::va, track, exclusive, Outcome::gp},
    {"ELDU, page shared", eldu, Row::free_page, base, shared, Outcome::gp, SgxConflict::page_exception},
    {"ELDB, page shared", eldb, Row::free_page, base, shared, Outcome::gp, SgxConflict::page_exception},
    {"ELDU, VA exclusive", eldu, Row::va, base, exclusive, Outcome::gp},
    {"ELDU, VA shared", eldu, Row::va, base, shared, Outcome::done},
    {"ELDU, SECS exclusive", eldu, Row::secs, base, exclusive, Outcome::gp},
    {"ELDU, SECS shared", eldu, Row::secs, base, shared, Outcome::done},
    {"ELDUC, page shared", elduc, Row::free_page, base, shared, Outcome::code7, SgxConflict::page_error},
    {"ELDBC, page shared", eldbc, Row::free_page, base, shared, Outcome::code7, SgxConflict::page_error},
    {"ELDUC, VA exclusive", elduc, Row::va, base, exclusive, Outcome::code7},
    {"ELDBC, SECS exclusive", eldbc, Row::secs, base, exclusive, Outcome::code7},
    {"EAUG, page shared", eaug, Row::free_page, base, shared, Outcome::gp, SgxConflict::page_exception},
    {"EAUG, SECS exclusive", eaug, Row::secs, base, exclusive, Outcome::gp},
    {"EAUG, SECS shared", eaug, Row::secs, base, shared, Outcome::done},
    {"EAUG, SECS in EADD", eaug, Row::secs, build, exclusive, Outcome::done},
    {"EMODPR, page exclusive", emodpr, Row::child, base, exclusive, Outcome::gp},
    {"EMODPR, page shared", emodpr, Row::child, base, shared, Outcome::done},
    {"EMODPR, page in EACCEPT", emodpr, Row::child, sgx2, exclusive, Outcome::code7},
    {"EMODT, page shared", emodt, Row::child, base, shared, Outcome::code7, SgxConflict::page_error},
    {"EMODT, page in EACCEPT", emodt, Row::child, sgx2, exclusive, Outcome::code7},
    {"ERDINFO, page exclusive", erdinfo, Row::child, base, exclusive, Outcome::code7},
    {"ERDINFO, page shared", erdinfo, Row::child, base, shared, Outcome::done},
    {"EACCEPT, page exclusive", eaccept, Row::child, base, exclusive, Outcome::gp},
    {"EACCEPT, page shared", eaccept, Row::child, base, shared, Outcome::done},
    {"EACCEPT, page in EMODPE", eaccept, Row::child, sgx2, exclusive, Outcome::gp},
    {"EACCEPT, SECINFO's page", eaccept, Row::own_data, base, exclusive, Outcome::done},
    {"EMODPE, page in EMODPR", emodpe, Row::child, sgx2, exclusive, Outcome::gp},
    {"EMODPE, page exclusive", emodpe, Row::child, base, exclusive, Outcome::done},
    {"EACCEPTCOPY, page in EACCEPT", eacceptcopy, Row::child, sgx2, exclusive, Outcome::gp},
    {"EACCEPTCOPY, page exclusive", eacceptcopy, Row::child, base, exclusive, Outcome::done},
    {"EDECVIRTCHILD, page exclusive", edecvirtchild, Row::child, base, exclusive, Outcome::code7},
    {"EINCVIRTCHILD, page exclusive", eincvirtchild, Row::child, base, exclusive, Outcome::code7},
    {"EINCVIRTCHILD, SECS exclusive", eincvirtchild, Row::secs, base, exclusive, Outcome::done},
    {"ESETCONTEXT, SECS exclusive", esetcontext, Row::secs, base, exclusive, Outcome::code7},
    {"ESETCONTEXT, SECS shared", esetcontext, Row::secs, base, shared, Outcome::done},
};

class SgxConflicts : public SgxBench, public testing::WithParamInterface<Row> {
 protected:
  static constexpr u64 info = ram, pcmd = ram + 0x100, secinfo = ram + 0x200, image = ram + 0x1000;
  static constexpr u64 context = 0x7777'0000;
  static constexpr u32 secs_page = 0, va_page = 1, child_page = 2, free_page = 3, data_page = 4;
  static constexpr u64 slot = at(va_page) + 8;

  static u32 index_of(Row::Operand operand) {
    switch (operand) {
      case Row::secs: return secs_page;
      case Row::va: return va_page;
      case Row::child: return child_page;
      case Row::free_page: return free_page;
      case Row::own_data: return data_page;
    }
    return 0;
  }

  void SetUp() override {
    make_secs(secs_page);
    make_va(va_page);
    make_child(child_page, secs_page);
    make_child(data_page, secs_page);
    secs(secs_page).live().enclavecontext = context;
    secs(secs_page).live().virtchildcnt = 1;
  }

  void block_child() {
    ASSERT_TRUE(call(eblock, 0, at(child_page)).ok());
    ASSERT_TRUE(call(etrack, 0, at(secs_page)).ok());
    put(info, arch::Pageinfo{0, image, pcmd, 0});
  }
  void put_own(u64 flags) {
    const arch::Secinfo s{flags, {}};
    std::memcpy(bytes(data_page), &s, sizeof s);
    go_inside(secs_page);
  }

  /// Makes everything ready for the leaf to succeed; its operands.
  std::array<u64, 3> prepare(Leaf leaf) {
    if (leaf == epa) return {3, at(free_page), 0};
    if (leaf == eblock || leaf == etrackc) return {0, at(child_page), 0};
    if (leaf == etrack) return {0, at(secs_page), 0};
    if (leaf == ewb) {
      block_child();
      return {info, at(child_page), slot};
    }
    if (leaf == eldu || leaf == eldb || leaf == elduc || leaf == eldbc) {
      block_child();
      EXPECT_TRUE(call(ewb, info, at(child_page), slot).ok());
      put(info, arch::Pageinfo{at(child_page), image, pcmd, at(secs_page)});
      return {info, at(free_page), slot};
    }
    if (leaf == eaug) {
      put(info, arch::Pageinfo{at(free_page), 0, 0, at(secs_page)});
      return {info, at(free_page), 0};
    }
    if (leaf == emodpr || leaf == emodt) {
      put(secinfo, arch::Secinfo{flags_of(PageType::trim, 0), {}});
      return {secinfo, at(child_page), 0};
    }
    if (leaf == erdinfo) return {info, at(child_page), 0};
    if (leaf == eaccept) {
      entry(child_page).pending = true;
      put_own(flags_of(PageType::reg, 3 | f::pending));
      return {at(data_page), at(child_page), 0};
    }
    if (leaf == emodpe) {
      put_own(flags_of(PageType::reg, f::x));
      return {at(data_page), at(child_page), 0};
    }
    if (leaf == eacceptcopy) {
      entry(child_page).pending = true;
      put_own(flags_of(PageType::reg, f::r));
      return {at(data_page), at(child_page), at(data_page)};
    }
    if (leaf == esetcontext) return {0, at(secs_page), info};
    return {at(child_page), at(secs_page), 0};  // EDECVIRTCHILD, EINCVIRTCHILD
  }

  Seen run() {
    const Row& row = GetParam();
    const auto [rbx, rcx, rdx] = prepare(row.leaf);
    const Held held(entry(index_of(row.page)).*row.lock, row.held);
    EXPECT_TRUE(held);
    return call(row.leaf, rbx, rcx, rdx);
  }
  /// After a conflict nothing has changed: without it, the same leaf succeeds.
  void expect_untouched() {
    const Seen again = call(GetParam().leaf, cpu.gpr[arch::rbx], cpu.gpr[arch::rcx], cpu.gpr[arch::rdx]);
    EXPECT_TRUE(again.ok()) << again;
  }
};

TEST_P(SgxConflicts, AsTheTableSays) {
  const Seen seen = run();
  switch (GetParam().plain) {
    case Outcome::gp: EXPECT_TRUE(seen.gp()) << seen; break;
    case Outcome::code7: EXPECT_TRUE(seen.zf(SgxError::epc_page_conflict)) << seen; break;
    case Outcome::done: EXPECT_TRUE(seen.ok()) << seen; return;
  }
  expect_untouched();
}

TEST_P(SgxConflicts, WithTheEpcVirtualizationExtensions) {
  const Row& row = GetParam();
  set_epc_virtualization(true);
  const Seen seen = run();
  if (row.virtualized) {
    ASSERT_TRUE(seen.conflict(*row.virtualized)) << seen;
    const bool tracking = *row.virtualized == SgxConflict::tracking_resource;
    const u64 rcx = cpu.gpr[arch::rcx];
    EXPECT_EQ(seen.exit->physical, arch::Gpa{tracking ? context : rcx});
    EXPECT_EQ(seen.exit->linear, arch::Gva{tracking ? 0 : rcx});
    const u16 error = *row.virtualized == SgxConflict::page_error ? 7 : 0;
    EXPECT_EQ(SgxConflictQualification::decode(seen.exit->qualification).error, error);
    expect_untouched();
    return;
  }
  switch (row.plain) {
    case Outcome::gp: EXPECT_TRUE(seen.gp()) << seen; break;
    case Outcome::code7: EXPECT_TRUE(seen.zf(SgxError::epc_page_conflict)) << seen; break;
    case Outcome::done: EXPECT_TRUE(seen.ok()) << seen; break;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, SgxConflicts, testing::ValuesIn(rows), [](const auto& row) {
  std::string name = row.param.name;
  std::erase_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; });
  return name;
});

class SgxTracking : public SgxBench {};

TEST_F(SgxTracking, AnIncompleteCycleExits) {
  make_secs(0);
  make_child(1, 0);
  secs(0).live().enclavecontext = 0x5000;
  entry(0).threads_before = 1;
  for (const auto& [leaf, page] : {std::pair{Leaf{etrack}, 0u}, std::pair{Leaf{etrackc}, 1u}}) {
    set_epc_virtualization(false);
    EXPECT_TRUE(call(leaf, 0, at(page)).zf(SgxError::prev_trk_incmpl));
    set_epc_virtualization(true);
    const Seen seen = call(leaf, 0, at(page));
    ASSERT_TRUE(seen.conflict(SgxConflict::tracking_reference)) << seen;
    EXPECT_EQ(seen.exit->physical, arch::Gpa{0x5000});
    EXPECT_EQ(seen.exit->linear, arch::Gva{0});
  }
}

}  // namespace
}  // namespace cloister::silicon
