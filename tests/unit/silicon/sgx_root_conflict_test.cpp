// Leaves that root mode runs beside a guest's: each row holds one lock of a page in the way that another leaf would
// (SDM vol. 3D, the tables "concurrency restrictions" in 38.3 to 38.5). Root mode makes no SGX_CONFLICT exit.
#include "sgx_bench.hpp"

namespace cloister::silicon {
namespace {

using arch::EnclsLeaf;
using arch::EnclvLeaf;
using arch::PageType;
using arch::SgxError;

enum class Outcome { gp, code7, done };
enum Place : u32 { secs_page, va_page, child_page, free_page };

struct Row {
  const char* name;
  bool enclv;
  u32 leaf;
  Place page;
  PageLock EpcmEntry::*lock;
  LockMode held;
  Outcome outcome;
};
constexpr Row encls(const char* name, EnclsLeaf leaf, Place page, PageLock EpcmEntry::*lock, LockMode held,
                    Outcome outcome) {
  return {name, false, static_cast<u32>(leaf), page, lock, held, outcome};
}
constexpr Row enclv(const char* name, EnclvLeaf leaf, Place page, LockMode held, Outcome outcome) {
  return {name, true, static_cast<u32>(leaf), page, &EpcmEntry::lock, held, outcome};
}

constexpr auto shared = LockMode::shared, exclusive = LockMode::exclusive;
constexpr auto base = &EpcmEntry::lock, track = &EpcmEntry::track_lock;

constexpr Row rows[] = {
    encls("EADD_page", EnclsLeaf::eadd, free_page, base, shared, Outcome::gp),
    encls("EAUG_page", EnclsLeaf::eaug, free_page, base, shared, Outcome::gp),
    encls("EAUG_SECS", EnclsLeaf::eaug, secs_page, base, exclusive, Outcome::gp),
    encls("EREMOVE_page", EnclsLeaf::eremove, child_page, base, shared, Outcome::gp),
    encls("EPA_page", EnclsLeaf::epa, free_page, base, shared, Outcome::gp),
    encls("EBLOCK_page", EnclsLeaf::eblock, child_page, base, exclusive, Outcome::code7),
    encls("EBLOCK_page_shared", EnclsLeaf::eblock, child_page, base, shared, Outcome::done),
    encls("ETRACK_SECS", EnclsLeaf::etrack, secs_page, base, exclusive, Outcome::gp),
    encls("ETRACK_facility", EnclsLeaf::etrack, secs_page, track, exclusive, Outcome::gp),
    encls("ETRACKC_page", EnclsLeaf::etrackc, child_page, base, exclusive, Outcome::code7),
    encls("ETRACKC_facility", EnclsLeaf::etrackc, secs_page, track, exclusive, Outcome::code7),
    encls("EWB_page", EnclsLeaf::ewb, child_page, base, shared, Outcome::gp),
    encls("EWB_VA", EnclsLeaf::ewb, va_page, base, exclusive, Outcome::gp),
    encls("EWB_VA_slots", EnclsLeaf::ewb, va_page, track, exclusive, Outcome::gp),
    encls("ELDU_page", EnclsLeaf::eldu, free_page, base, shared, Outcome::gp),
    encls("ELDB_VA", EnclsLeaf::eldb, va_page, base, exclusive, Outcome::gp),
    encls("ELDU_SECS", EnclsLeaf::eldu, secs_page, base, exclusive, Outcome::gp),
    encls("ELDUC_page", EnclsLeaf::elduc, free_page, base, shared, Outcome::code7),
    encls("ELDBC_VA", EnclsLeaf::eldbc, va_page, base, exclusive, Outcome::code7),
    encls("ELDUC_SECS", EnclsLeaf::elduc, secs_page, base, exclusive, Outcome::code7),
    encls("ERDINFO_page", EnclsLeaf::erdinfo, child_page, base, exclusive, Outcome::code7),
    encls("ERDINFO_page_shared", EnclsLeaf::erdinfo, child_page, base, shared, Outcome::done),
    enclv("EINCVIRTCHILD_page", EnclvLeaf::eincvirtchild, child_page, exclusive, Outcome::code7),
    enclv("EDECVIRTCHILD_page", EnclvLeaf::edecvirtchild, child_page, exclusive, Outcome::code7),
    enclv("EINCVIRTCHILD_SECS", EnclvLeaf::eincvirtchild, secs_page, exclusive, Outcome::done),
    enclv("ESETCONTEXT_SECS", EnclvLeaf::esetcontext, secs_page, exclusive, Outcome::code7),
};

class SgxRootConflicts : public SgxBench, public testing::WithParamInterface<Row> {
 protected:
  static constexpr Mfn frame(u32 index) { return first + index; }

  SgxRootConflicts() {
    make_secs(secs_page);
    make_va(va_page);
    make_child(child_page, secs_page);
    secs(secs_page).live().virtchildcnt = 1;
    set_epc_virtualization(true);
  }

  EnclsResult root(EnclsLeaf leaf, const vmx::LeafOperands& operands) { return package_.encls(leaf, operands); }
  EnclsResult run() {
    const Row& row = GetParam();
    if (row.enclv) return package_.enclv(static_cast<EnclvLeaf>(row.leaf), operands_);
    return package_.encls(static_cast<EnclsLeaf>(row.leaf), operands_);
  }

  /// Makes everything ready for the leaf to succeed.
  void prepare() {
    const Row& row = GetParam();
    info_ = {0, image_, std::as_writable_bytes(std::span(&pcmd_, 1)), std::nullopt};
    const vmx::VersionSlot slot{frame(va_page), 3};
    const auto evictable = [&] {
      EXPECT_EQ(root(EnclsLeaf::eblock, {.page = frame(child_page)}).rax, 0u);
      EXPECT_EQ(root(EnclsLeaf::etrack, {.page = frame(secs_page)}).rax, 0u);
    };
    if (row.enclv) {
      const bool context = static_cast<EnclvLeaf>(row.leaf) == EnclvLeaf::esetcontext;
      operands_ = {.page = frame(secs_page), .context = 5};
      if (!context) operands_.child = frame(child_page);
      return;
    }
    switch (static_cast<EnclsLeaf>(row.leaf)) {
      case EnclsLeaf::eadd:
        secs(secs_page).architectural.attributes.flags &= ~arch::attributes::init;
        secinfo_.flags = flags_of(PageType::reg, 3);
        info_ = {at(free_page), image_, std::as_writable_bytes(std::span(&secinfo_, 1)), frame(secs_page)};
        operands_ = {.page = frame(free_page), .pageinfo = &info_};
        break;
      case EnclsLeaf::eaug:
        info_ = {at(free_page), {}, {}, frame(secs_page)};
        operands_ = {.page = frame(free_page), .pageinfo = &info_};
        break;
      case EnclsLeaf::ewb:
        evictable();
        operands_ = {.page = frame(child_page), .pageinfo = &info_, .version = slot};
        break;
      case EnclsLeaf::eldu:
      case EnclsLeaf::eldb:
      case EnclsLeaf::elduc:
      case EnclsLeaf::eldbc:
        evictable();
        EXPECT_EQ(root(EnclsLeaf::ewb, {.page = frame(child_page), .pageinfo = &info_, .version = slot}).rax, 0u);
        info_.secs = frame(secs_page);
        operands_ = {.page = frame(free_page), .pageinfo = &info_, .version = slot};
        break;
      case EnclsLeaf::erdinfo: operands_ = {.page = frame(child_page), .rdinfo = &rdinfo_}; break;
      case EnclsLeaf::etrack: operands_ = {.page = frame(secs_page)}; break;
      case EnclsLeaf::epa: operands_ = {.page = frame(free_page)}; break;
      default: operands_ = {.page = frame(child_page)}; break;
    }
  }

  alignas(4096) std::array<std::byte, arch::page_size> image_{};
  alignas(128) arch::Pcmd pcmd_{};
  alignas(64) arch::Secinfo secinfo_{};
  alignas(32) arch::Rdinfo rdinfo_{};
  vmx::PageinfoOperand info_;
  vmx::LeafOperands operands_;
};

TEST_P(SgxRootConflicts, AsTheTableSays) {
  prepare();
  {
    const Held held(entry(GetParam().page).*GetParam().lock, GetParam().held);
    ASSERT_TRUE(held);
    const EnclsResult result = run();
    switch (GetParam().outcome) {
      case Outcome::gp: EXPECT_EQ(result.fault, arch::vector::gp); break;
      case Outcome::code7:
        EXPECT_EQ(result.fault, std::nullopt);
        EXPECT_EQ(result.rax, static_cast<u64>(SgxError::epc_page_conflict));
        break;
      case Outcome::done:
        EXPECT_EQ(result.fault, std::nullopt);
        EXPECT_EQ(result.rax, 0u);
        return;
    }
  }
  // Nothing has changed: without the other leaf, the same one succeeds.
  const EnclsResult again = run();
  EXPECT_EQ(again.fault, std::nullopt);
  EXPECT_EQ(again.rax, 0u);
}

INSTANTIATE_TEST_SUITE_P(Table, SgxRootConflicts, testing::ValuesIn(rows),
                         [](const auto& row) { return std::string(row.param.name); });

class SgxRoot : public SgxBench {};

/// In a guest a virtual child keeps its SECS, where the extensions are on; for root mode it is a number.
TEST_F(SgxRoot, VirtualChildrenAreTheGuestsAlone) {
  make_secs(0);
  make_va(1);
  secs(0).live().virtchildcnt = 1;
  set_epc_virtualization(true);
  EXPECT_TRUE(call(eremove, 0, at(0)).zf(SgxError::child_present));
  EXPECT_EQ(package_.eremove(first).rax, 0u);
  EXPECT_FALSE(entry(0).valid);
}

TEST_F(SgxRoot, AnIncompleteCycleIsACode) {
  make_secs(0);
  make_child(1, 0);
  entry(0).threads_before = 1;
  set_epc_virtualization(true);
  const u64 incomplete = static_cast<u64>(SgxError::prev_trk_incmpl);
  EXPECT_EQ(package_.encls(EnclsLeaf::etrack, {.page = first}).rax, incomplete);
  EXPECT_EQ(package_.encls(EnclsLeaf::etrackc, {.page = first + 1}).rax, incomplete);
}

}  // namespace
}  // namespace cloister::silicon
