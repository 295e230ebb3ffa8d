// A processor of the first generation with SGX: SGX1 alone, and no launch control (SDM vol. 3D, 36.7; vol. 4, table
// 2-2). What came later is not in CPUID, and what uses it faults. In a domain with 64 MiB of EPC.
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64;
constexpr u64 epc_window = u64{6} << 39;  // the EPC's first gibibyte
constexpr u64 ecreate = 0, eremove = 3;

/// Maps the gibibyte around the EPC; the linear address of its first byte.
u64 map_epc() {
  const cpu::Cpuid r = cpu::cpuid(0x12, 2);
  const u64 base = (u64{r.ebx & 0xfffff} << 32) | (r.eax & 0xfffff000);
  map(epc_window, base & ~0x3fff'ffffull, pte::p | pte::w, 3);
  return epc_window + (base & 0x3fff'ffff);
}

Trap encls(u64 leaf, u64 rcx, u64 rbx = 0) {
  return run(k, CODE(".byte 0x0f, 0x01, 0xcf"), {.rax = leaf, .rcx = rcx, .rbx = rbx});
}

/// What software gives ECREATE, each at its offset in the manual (SDM vol. 3D, tables 34-3 and 34-4).
struct Creation {
  u64 secs = new_frame(), pageinfo = new_frame();

  Creation() {
    at(secs) = 0x10000;                   // SIZE
    at(secs + 8) = 0x10000;               // BASEADDR
    at<u32>(secs + 16) = 1;               // SSAFRAMESIZE
    at(secs + 48) = 1 << 2;               // ATTRIBUTES: MODE64BIT
    at(secs + 56) = 3;                    // XFRM: x87, SSE
    at(pageinfo + 8) = secs;              // SRCPGE
    at(pageinfo + 16) = pageinfo + 0x40;  // SECINFO: a page of type SECS
  }
  Trap run_at(u64 page) const { return encls(ecreate, page, pageinfo); }
};

}  // namespace

CASE(cpuid) {
  line("leaf_7");
  expect("sgx", cpu::cpuid(7).ebx >> 2 & 1, 1);
  expect("sgx_lc", cpu::cpuid(7).ecx >> 30 & 1, 0);
  line("leaf_12_0");
  const cpu::Cpuid r0 = cpu::cpuid(0x12, 0);
  expect("eax", r0.eax, 1);
  expect("miscselect", r0.ebx, 0);
  expect("sizes", r0.edx, 0x241f);
  line("leaf_12_1");
  const cpu::Cpuid r1 = cpu::cpuid(0x12, 1);
  expect("attributes", r1.eax, 0x36);
  expect("xfrm_as_xcr0", r1.ecx, cpu::cpuid(0xd).eax);
}

CASE(feature_control) { expect("value", cpu::rdmsr(0x3a), 1 | (1 << 18)); }

CASE(launch_hash_is_not_there) {
  for (u32 i = 0; i < 4; i++) {
    expect_fault(attempt([=] { cpu::rdmsr(0x8c + i); }), vec::gp, 0);
    expect_fault(attempt([=] { cpu::wrmsr(0x8c + i, 0); }), vec::gp, 0);
  }
}

// A leaf that CPUID does not enumerate is #GP(0), before its operands are looked at; ENCLV is no instruction.
CASE(later_leaves) {
  static const struct {
    const char* name;
    u64 leaf;
  } rows[] = {{"eaug", 0xd},     {"emodpr", 0xe}, {"emodt", 0xf},  {"erdinfo", 0x10},
              {"etrackc", 0x11}, {"eldbc", 0x12}, {"elduc", 0x13}, {"eupdatesvn", 0x18}};
  for (const auto& row : rows) {
    line(row.name);
    expect_fault(encls(row.leaf, window_va, window_va), vec::gp, 0, 0);
  }
  line("enclv");
  expect_fault(run(k, CODE(".byte 0x0f, 0x01, 0xc0")), vec::ud, 0, 0);
}

// ECREATE takes what leaf 0x12 offers and nothing else.
CASE(ecreate) {
  const u64 page = map_epc();
  line("plain");
  expect_done(Creation().run_at(page));
  expect("eremove", encls(eremove, page).gpr[0], 0);
  line("debug_and_keys");
  Creation all;
  at(all.secs + 48) = 0x36;
  expect_done(all.run_at(page));
  expect("eremove", encls(eremove, page).gpr[0], 0);
  line("kss");
  Creation kss;
  at(kss.secs + 48) |= 1 << 7;
  expect_fault(kss.run_at(page), vec::gp, 0, 0);
  line("aexnotify");
  Creation notify;
  at(notify.secs + 48) |= 1 << 10;
  expect_fault(notify.run_at(page), vec::gp, 0, 0);
  line("exinfo");
  Creation exinfo;
  at<u32>(exinfo.secs + 20) = 1;
  expect_fault(exinfo.run_at(page), vec::gp, 0, 0);
  line("xfrm_pkru");
  Creation pkru;
  at(pkru.secs + 56) = 0x203;
  expect_fault(pkru.run_at(page), vec::gp, 0, 0);
  line("too_large");
  Creation large;
  at(large.secs) = u64{1} << 36;
  at(large.secs + 8) = 0;
  expect_fault(large.run_at(page), vec::gp, 0, 0);
  line("half_of_that");
  Creation half;
  at(half.secs) = u64{1} << 35;
  at(half.secs + 8) = 0;
  expect_done(half.run_at(page));
  expect("eremove", encls(eremove, page).gpr[0], 0);
}
