// Control registers (SDM vol. 3A, 2.5 and MOV to CR in vol. 2B), EFER and other MSRs (2.2.1, vol. 4), XSETBV (2.6),
// time stamp counter (17.17), UMIP, and what CPUID says of itself (vol. 2A, table 3-8).
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64, u = Mode::user64;
constexpr u64 noncanonical = 0x8000'0000'0000;
constexpr u64 pg = u64{1} << 31;
constexpr u32 efer = 0xc0000080;

Trap write_cr0(u64 v) {
  return attempt([=] { cpu::set_cr0(v); });
}
Trap write_cr4(u64 v) {
  return attempt([=] { cpu::set_cr4(v); });
}
Trap write_msr(u32 index, u64 v) {
  return attempt([=] { cpu::wrmsr(index, v); });
}
Trap read_msr(u32 index) {
  return attempt([=] { cpu::rdmsr(index); });
}
void expect_gp(const Trap& t) { expect_fault(t, vec::gp, 0); }
void expect_fine(const Trap& t) { expect("vector", t.vector, vec::none); }

}  // namespace

// ---- CR0: MOV to CR, "#GP(0)".
CASE(cr0) {
  const u64 base = cpu::cr0();
  line("pg_without_pe");
  if (on_tcg()) {
    skip("the check is missing");
  } else {
    expect_gp(write_cr0(base & ~u64{CR0_PE}));
  }
  line("nw_without_cd");
  expect_gp(write_cr0(base | CR0_NW));
  line("upper_half");
  if (on_tcg()) {
    skip("upper half is not checked");
  } else {
    expect_gp(write_cr0(base | u64{1} << 32));
  }
  line("cd");
  expect_fine(write_cr0(base | CR0_CD));
  expect("cr0", cpu::cr0(), base | CR0_CD);
  cpu::set_cr0(base);
  line("et_is_fixed");
  expect_fine(write_cr0(base & ~u64{CR0_ET}));
  expect("cr0", cpu::cr0(), base);
  line("reserved_low_bits_are_ignored");
  expect_fine(write_cr0(base | 0x1040));
  expect("cr0", cpu::cr0(), base);
  line("unchanged_after_faults");
  expect("cr0", cpu::cr0(), base);
}

CASE(paging_off_in_64_bit_mode) {
  if (on_tcg()) return skip("the check is missing");
  expect_gp(write_cr0(cpu::cr0() & ~pg));
}

CASE(lmsw_smsw_clts) {
  const u64 base = cpu::cr0();
  line("lmsw_sets_ts");
  expect_done(run(k, CODE("lmsw ax; smsw ecx"), {.rax = (base & 15) | CR0_TS}));
  expect("smsw", last_trap.gpr[1] & 0xffff, (base | CR0_TS) & 0xffff);
  line("clts");
  expect_done(run(k, CODE("clts")));
  expect("cr0", cpu::cr0(), base);
  line("lmsw_cannot_clear_pe");
  expect_done(run(k, CODE("lmsw ax"), {.rax = base & 14}));
  expect("pe", cpu::cr0() & 1, 1);
  cpu::set_cr0(base);
  line("smsw_memory_is_16_bits");
  at(data_va) = ~0ul;
  run(k, CODE("smsw [rbx]"), {.rbx = data_va});
  expect("upper", at(data_va) >> 16, 0xffff'ffff'ffff);
}

// ---- CR4.
CASE(cr4) {
  if (on_tcg()) return skip("CR4's checks are missing");
  const u64 base = cpu::cr4();
  line("pae_clear_in_long_mode");
  expect_gp(write_cr4(base & ~u64{CR4_PAE}));
  static const struct {
    const char* name;
    u64 bit;
  } reserved[] = {{"bit_15", 1 << 15},      {"bit_19_kl", 1 << 19},   {"bit_26", 1 << 26},
                  {"bit_31", u64{1} << 31}, {"bit_32", u64{1} << 32}, {"bit_63", u64{1} << 63}};
  for (const auto& row : reserved) {
    line(row.name);
    expect_gp(write_cr4(base | row.bit));
  }
  line("bits_without_cpuid");
  const cpu::Cpuid seven = cpu::cpuid(7), one = cpu::cpuid(1);
  static constexpr struct {
    bool leaf7;
    char reg;
    unsigned cpuid_bit, cr4_bit;
  } features[] = {
      {true, 'b', 0, 16},  {true, 'b', 7, 20},   {true, 'b', 20, 21},  {true, 'c', 2, 11},
      {true, 'c', 3, 22},  {true, 'c', 16, 12},  {true, 'c', 7, 23},   {false, 'c', 5, 13},
      {false, 'c', 6, 14}, {false, 'c', 17, 17}, {false, 'c', 26, 18},
  };
  for (const auto& f : features) {
    const cpu::Cpuid& r = f.leaf7 ? seven : one;
    const bool has = ((f.reg == 'b' ? r.ebx : r.ecx) >> f.cpuid_bit) & 1;
    if (f.cr4_bit == 12) continue;  // LA57 cannot change in long mode anyway
    if (f.cr4_bit == 23) continue;  // CET needs WP and more
    Trap t = write_cr4(base | (u64{1} << f.cr4_bit));
    if ((t.vector == vec::none) != has) expect("cr4_bit_disagrees_with_cpuid", f.cr4_bit, 0);
    cpu::set_cr4(base);
  }
  expect("base", cpu::cr4(), base);
}

CASE(cr3_reserved_bits) {
  if (on_tcg()) return skip("CR3's reserved bits are not checked");
  const u64 width = cpu::cpuid(0x80000008).eax & 0xff;
  const u64 root = cpu::cr3();
  line("bit_63");
  expect_gp(attempt([&] { cpu::set_cr3(root | (u64{1} << 63)); }));
  if (width < 52) {
    line("beyond_maxphyaddr");
    expect_gp(attempt([&] { cpu::set_cr3(root | (u64{1} << width)); }));
  }
  line("pwt_pcd");
  expect_fine(attempt([&] { cpu::set_cr3(root | 0x18); }));
  expect("cr3", cpu::cr3(), root | 0x18);
}

CASE(cr8) {
  line("round_trip");
  cpu::set_cr8(9);
  expect("cr8", cpu::cr8(), 9);
  cpu::set_cr8(0);
  line("reserved");
  expect_fault(run(k, CODE("mov cr8, rax"), {.rax = 0x10}), vec::gp, 0, 0);
  line("upper_half");
  expect_fault(run(k, CODE("mov cr8, rax"), {.rax = u64{1} << 32}), vec::gp, 0, 0);
}

CASE(other_control_registers) {
  line("cr1");
  expect_fault(run(k, CODE(".byte 0x0f, 0x20, 0xc8")), vec::ud, 0, 0);
  line("cr5");
  expect_fault(run(k, CODE(".byte 0x0f, 0x22, 0xe8")), vec::ud, 0, 0);
  line("cr15");
  expect_fault(run(k, CODE(".byte 0x44, 0x0f, 0x22, 0xf8")), vec::ud, 0, 0);
  line("cr2_round_trip");
  cpu::Cpuid unused = cpu::cpuid(0);
  (void)unused;
  asm volatile("mov %0, %%cr2" ::"r"(0x1234'5678'9abc));
  expect("cr2", cpu::cr2(), 0x1234'5678'9abc);
  line("lock");
  if (on_tcg()) {
    skip("it is executed");
  } else {
    expect_fault(run(k, CODE(".byte 0xf0, 0x0f, 0x22, 0xd8")), vec::ud, 0, 0);
  }
  line("mod_field_is_ignored");
  expect_done(run(k, CODE(".byte 0x0f, 0x20, 0x18")));
  expect("cr3", last_trap.gpr[0], cpu::cr3());
}

// ---- EFER (2.2.1).
CASE(efer_rules) {
  const u64 base = cpu::rdmsr(efer);
  expect("base", base, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
  line("lme_while_paging");
  if (on_tcg()) {
    skip("the check is missing");
  } else {
    expect_gp(write_msr(efer, base & ~u64{EFER_LME}));
  }
  line("lma_is_read_only");
  expect_fine(write_msr(efer, base & ~u64{EFER_LMA}));
  expect("efer", cpu::rdmsr(efer), base);
  line("reserved_bits");
  for (u64 bit : {1ul << 1, 1ul << 7, 1ul << 12, 1ul << 16, 1ul << 63}) {
    Trap t = write_msr(efer, base | bit);
    expect("vector", t.vector, vec::gp);
  }
}

// ---- MSRs (WRMSR, vol. 2: a non-canonical address, a reserved bit, an unknown MSR: #GP(0)).
CASE(msr_noncanonical) {
  static const struct {
    const char* name;
    u32 index;
  } rows[] = {
      {"fs_base", 0xc0000100}, {"gs_base", 0xc0000101}, {"kernel_gs_base", 0xc0000102}, {"lstar", 0xc0000082},
      {"cstar", 0xc0000083},   {"sysenter_esp", 0x175}, {"sysenter_eip", 0x176},
  };
  for (const auto& row : rows) {
    line(row.name);
    expect_gp(write_msr(row.index, noncanonical));
    const u64 saved = cpu::rdmsr(row.index);
    expect_fine(write_msr(row.index, 0xffff'8000'0000'1234));
    expect("value", cpu::rdmsr(row.index), 0xffff'8000'0000'1234);
    cpu::wrmsr(row.index, saved);
  }
}

CASE(msr_rules) {
  line("unknown_read");
  expect_gp(read_msr(0x12345678));
  line("unknown_write");
  expect_gp(write_msr(0x12345678, 0));
  line("pat_bad_type");
  expect_gp(write_msr(0x277, 0x0007'0406'0007'0402));
  line("pat");
  expect_fine(write_msr(0x277, 0x0007'0406'0007'0106));
  cpu::wrmsr(0x277, 0x0007'0406'0007'0406);
  line("tsc_aux_upper_half");
  expect_gp(write_msr(0xc0000103, u64{1} << 32));
  line("fmask_upper_half");
  expect_gp(write_msr(0xc0000084, u64{1} << 32));
  line("mtrrcap_is_read_only");
  expect_gp(write_msr(0xfe, 0));
  line("apic_base");
  if (on_tcg()) {
    skip("not checked, and the APIC would stay off");
  } else {
    const u64 apic = cpu::rdmsr(0x1b);
    expect_gp(write_msr(0x1b, apic | 1));
    expect_gp(write_msr(0x1b, (apic & ~u64{0x800}) | 0x400));
    expect("apic_base", cpu::rdmsr(0x1b), apic);
  }
  line("rdmsr_clears_upper_halves");
  Trap t = run(k, CODE("rdmsr"), {.rax = ~0ul, .rcx = 0xffff'ffff'0000'0277, .rdx = ~0ul});
  expect_done(t);
  expect("rax", t.gpr[0], 0x00070406);
  expect("rdx", t.gpr[2], 0x00070406);
}

// ---- XSETBV (2.6): bit 0 always, SSE before AVX, nothing that leaf 0xD does not list, ECX = 0.
CASE(xsetbv) {
  line("without_osxsave");
  expect_fault(run(k, CODE("xsetbv"), {.rax = 1}), vec::ud, 0, 0);
  line("xgetbv_without_osxsave");
  expect_fault(run(u, CODE("xgetbv")), vec::ud, 0, 0);
  cpu::set_cr4(cpu::cr4() | CR4_OSXSAVE);
  static const struct {
    const char* name;
    Regs regs;
    bool faults;
  } rows[] = {
      {"x87", {.rax = 1}, false},
      {"x87_sse", {.rax = 3}, false},
      {"zero", {.rax = 0}, true},
      {"without_x87", {.rax = 2}, true},
      {"avx_without_sse", {.rax = 5}, true},
      {"upper_bit", {.rax = 3, .rdx = 1u << 31}, true},
      {"ecx_1", {.rax = 3, .rcx = 1}, true},
  };
  for (const auto& row : rows) {
    line(row.name);
    Trap t = run(k, CODE("xsetbv"), row.regs);
    expect("vector", t.vector, row.faults ? vec::gp : vec::done);
  }
  line("beyond_leaf_d");
  const cpu::Cpuid d = cpu::cpuid(13);
  const u64 missing = ~((u64{d.edx} << 32) | d.eax);
  u64 lowest = missing & -missing;
  expect("vector", run(k, CODE("xsetbv"), {.rax = 3 | (lowest & 0xffffffff), .rdx = lowest >> 32}).vector, vec::gp);
  line("leaf_d_follows_xcr0");
  run(k, CODE("xsetbv"), {.rax = 3});
  expect("ebx", cpu::cpuid(13).ebx, 576);
  line("xgetbv");
  expect_done(run(u, CODE("xgetbv")));
  expect("eax", last_trap.gpr[0], 3);
  line("xgetbv_ecx_2");
  expect_fault(run(u, CODE("xgetbv"), {.rcx = 2}), vec::gp, 0, 0);
  run(k, CODE("xsetbv"), {.rax = 1});
}

// ---- Time stamp counter, RDPMC, UMIP.
CASE(tsc) {
  line("rdtsc_grows");
  const u64 a = cpu::rdtsc(), b = cpu::rdtsc();
  expect("grows", b > a, 1);
  line("rdtscp_gives_aux");
  cpu::wrmsr(0xc0000103, 0x1234);
  expect("ecx", run(u, CODE("rdtscp")).gpr[1], 0x1234);
  line("tsd");
  cpu::set_cr4(cpu::cr4() | CR4_TSD);
  expect_fault(run(u, CODE("rdtsc")), vec::gp, 0, 0);
  expect_fault(run(u, CODE("rdtscp")), vec::gp, 0, 0);
  line("tsd_at_cpl0");
  expect_done(run(k, CODE("rdtsc")));
}

CASE(rdpmc) {
  line("user_without_pce");
  expect_fault(run(u, CODE("rdpmc")), vec::gp, 0, 0);
  line("no_such_counter");
  expect_fault(run(k, CODE("rdpmc"), {.rcx = 0x1000}), vec::gp, 0, 0);
}

CASE(umip) {
  line("allowed_without_umip");
  expect_done(run(u, CODE("sgdt [rbx]; sidt [rbx]; sldt eax; str eax; smsw eax"), {.rbx = data_va}));
  line("umip");
  if (!need(cpu::cpuid(7).ecx >> 2 & 1, "umip")) return;
  cpu::set_cr4(cpu::cr4() | CR4_UMIP);
  for (Code code : {CODE("sgdt [rbx]"), CODE("sidt [rbx]"), CODE("sldt eax"), CODE("str eax"), CODE("smsw eax")}) {
    expect("vector", run(u, code, {.rbx = data_va}).vector, vec::gp);
  }
  line("at_cpl0");
  expect_done(run(k, CODE("sgdt [rbx]; str eax"), {.rbx = data_va}));
}

// ---- CPUID (vol. 2A).
CASE(cpuid) {
  line("upper_halves_are_cleared");
  Trap t = run(u, CODE("cpuid"), {.rax = 0xffffffff'00000000, .rcx = 0, .rdx = ~0ul, .rbx = ~0ul});
  expect_done(t);
  expect("rax", t.gpr[0] >> 32, 0);
  expect("rbx", t.gpr[3] >> 32, 0);
  expect("rdx", t.gpr[2] >> 32, 0);
  line("genuine_intel");
  const cpu::Cpuid zero = cpu::cpuid(0);
  expect("ebx", zero.ebx, 0x756e6547);
  expect("edx", zero.edx, 0x49656e69);
  expect("ecx", zero.ecx, 0x6c65746e);
  line("osxsave_follows_cr4");
  expect("clear", cpu::cpuid(1).ecx >> 27 & 1, 0);
  cpu::set_cr4(cpu::cr4() | CR4_OSXSAVE);
  expect("set", cpu::cpuid(1).ecx >> 27 & 1, 1);
  line("leaf_7_subleaves");
  const cpu::Cpuid seven = cpu::cpuid(7, cpu::cpuid(7).eax + 1);
  expect("all", seven.eax | seven.ebx | seven.ecx | seven.edx, 0);
  line("leaf_d_subleaf_1");
  const cpu::Cpuid d1 = cpu::cpuid(13, 1);
  expect("reserved", d1.eax & ~0x1fu, 0);
  line("leaf_d_legacy_subleaves_0_63");
  const cpu::Cpuid d63 = cpu::cpuid(13, 63);
  expect("all", d63.eax | d63.ebx | d63.ecx | d63.edx, 0);
  line("features_hang_together");
  const cpu::Cpuid one = cpu::cpuid(1);
  const u32 c = one.ecx, d = one.edx;
  expect("sse2_needs_sse", (d >> 26 & 1) <= (d >> 25 & 1), 1);
  expect("sse42_needs_sse41", (c >> 20 & 1) <= (c >> 19 & 1), 1);
  expect("cx16", c >> 13 & 1, 1);
  expect("popcnt", c >> 23 & 1, 1);
  expect("apic", d >> 9 & 1, 1);
  expect("long_mode", cpu::cpuid(0x80000001).edx >> 29 & 1, 1);
  line("apic_bit_follows_apic_base");
  const u64 apic = cpu::rdmsr(0x1b);
  expect("linear_bits", cpu::cpuid(0x80000008).eax >> 8 & 0xff, 48);
  expect("bsp", apic >> 8 & 1, 1);
}
