// Paging: page-fault error codes (SDM vol. 3A, figure 4-12 and 4.7), access rights (4.6), accessed and dirty flags
// (4.8), page sizes and reserved bits (4.5, tables 4-14 to 4-20), TLB invalidation and PCIDs (4.10).
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64, u = Mode::user64;
constexpr u64 page = window_va + 0x10000;
constexpr u64 user_page = pte::p | pte::w | pte::u, kernel_page = pte::p | pte::w;

Code read_code() { return CODE("mov eax, [rbx]"); }
Code write_code() { return CODE("mov [rbx], eax"); }
Code jump_code() { return CODE("jmp rbx"); }

Trap access(Mode mode, char kind, u64 va) {
  return run(mode, kind == 'r' ? read_code() : kind == 'w' ? write_code() : jump_code(), {.rbx = va});
}

/// Runs code on a supervisor page, as SMEP and SMAP need it.
Trap run_on_supervisor_page(Code code, const Regs& regs, u64 rflags = flag::fixed) {
  Context x = context_for(Mode::kernel64, regs, rflags);
  place_code(code);
  for (unsigned i = 0; i < 4; i++) {
    *entry_of(code_va + i * 4096) &= ~pte::u;
    *entry_of(stack_va + i * 4096) &= ~pte::u;
  }
  cpu::flush_tlb();
  return run_context(x);
}

bool has_leaf7_ebx(unsigned bit) { return cpu::cpuid(7).ebx >> bit & 1; }

}  // namespace

// ---- 4.7: error codes. P = 1, W/R = 2, U/S = 4, RSVD = 8, I/D = 16 (only with NXE or SMEP).

CASE(error_codes) {
  static const struct {
    const char* name;
    u64 flags;  // of the PTE
    char kind;
    Mode mode;
    u64 error;  // 0x100: no fault
  } rows[] = {
      {"user_read_missing", 0, 'r', u, 4},
      {"user_write_missing", 0, 'w', u, 6},
      {"user_fetch_missing", 0, 'x', u, 0x14},
      {"kernel_read_missing", 0, 'r', k, 0},
      {"kernel_write_missing", 0, 'w', k, 2},
      {"kernel_fetch_missing", 0, 'x', k, 0x10},
      {"missing_ignores_other_bits", pte::w | pte::u | pte::nx | pte::d, 'r', u, 4},
      {"user_reads_supervisor", kernel_page, 'r', u, 5},
      {"user_writes_supervisor", kernel_page, 'w', u, 7},
      {"user_fetches_supervisor", kernel_page, 'x', u, 0x15},
      {"user_writes_read_only", pte::p | pte::u, 'w', u, 7},
      {"user_reads_read_only", pte::p | pte::u, 'r', u, 0x100},
      {"kernel_writes_read_only", pte::p, 'w', k, 3},
      {"kernel_writes_user_read_only", pte::p | pte::u, 'w', k, 3},
      {"user_fetches_nx", user_page | pte::nx, 'x', u, 0x15},
      {"user_reads_nx", user_page | pte::nx, 'r', u, 0x100},
      {"kernel_fetches_nx", kernel_page | pte::nx, 'x', k, 0x11},
      {"kernel_reads_user", user_page, 'r', k, 0x100},
  };
  for (const auto& row : rows) {
    line(row.name);
    map(page, new_frame(), row.flags);
    Trap t = access(row.mode, row.kind, page + 0x123);
    if (row.error == 0x100) {
      expect_done(t);
    } else {
      expect_page_fault(t, row.error, page + 0x123);
      expect("rip", t.rip, row.kind == 'x' ? page + 0x123 : code_va);
    }
  }
}

// Rights are those of every level together (4.6): the entry above takes away.
CASE(rights_of_upper_levels) {
  static const struct {
    const char* name;
    unsigned level;
    u64 clear, set;
    char kind;
    u64 error;
  } rows[] = {
      {"pde_supervisor", 2, pte::u, 0, 'r', 5},   {"pdpte_supervisor", 3, pte::u, 0, 'r', 5},
      {"pml4e_supervisor", 4, pte::u, 0, 'w', 7}, {"pde_read_only", 2, pte::w, 0, 'w', 7},
      {"pdpte_read_only", 3, pte::w, 0, 'w', 7},  {"pml4e_read_only", 4, pte::w, 0, 'w', 7},
      {"pde_nx", 2, 0, pte::nx, 'x', 0x15},       {"pdpte_nx", 3, 0, pte::nx, 'x', 0x15},
      {"pml4e_nx", 4, 0, pte::nx, 'x', 0x15},     {"pde_missing", 2, pte::p, 0, 'r', 4},
      {"pdpte_missing", 3, pte::p, 0, 'w', 6},    {"pml4e_missing", 4, pte::p, 0, 'x', 0x14},
  };
  constexpr u64 far = u64{5} << 39;  // tables of its own at every level
  map(far, new_frame(), user_page);
  for (const auto& row : rows) {
    line(row.name);
    u64* entry = entry_of(far, row.level);
    const u64 saved = *entry;
    *entry = (saved & ~row.clear) | row.set;
    cpu::flush_tlb();
    expect_page_fault(access(u, row.kind, far), row.error, far);
    *entry = saved;
  }
}

// 2.5: without CR0.WP the supervisor writes read-only pages; 4.1.4: without NXE, bit 63 is reserved and I/D stays 0.
CASE(write_protect_off) {
  map(page, new_frame(), pte::p);
  cpu::set_cr0(cpu::cr0() & ~u64{CR0_WP});
  expect_done(access(k, 'w', page));
}

CASE(write_protect_off_user) {
  map(page, new_frame(), pte::p | pte::u);
  cpu::set_cr0(cpu::cr0() & ~u64{CR0_WP});
  expect_page_fault(access(u, 'w', page), 7, page);
}

CASE(nx_disabled) {
  cpu::wrmsr(0xc0000080, EFER_SCE | EFER_LME | EFER_LMA);
  line("bit_63_is_reserved");
  map(page, new_frame(), user_page | pte::nx);
  expect_page_fault(access(u, 'r', page), 0xd, page);
  line("fetch_has_no_id_bit");
  map(page, new_frame(), 0);
  expect_page_fault(access(u, 'x', page), 4, page);
}

// Tables 4-15 to 4-20: reserved bits; RSVD comes with P, whatever the rights.
CASE(reserved_bits) {
  const u64 width = cpu::cpuid(0x80000008).eax & 0xff;
  const u64 beyond = width < 52 ? u64{1} << 51 : 0;
  map(page, new_frame(), user_page);
  if (beyond) {
    line("pte_beyond_maxphyaddr");
    *entry_of(page) |= beyond;
    cpu::flush_tlb();
    expect_page_fault(access(u, 'r', page), 0xd, page);
    expect_page_fault(access(k, 'w', page), 0xb, page);
    *entry_of(page) &= ~beyond;
    line("pde_beyond_maxphyaddr");
    *entry_of(page, 2) |= beyond;
    cpu::flush_tlb();
    expect_page_fault(access(u, 'x', page), 0x1d, page);
    *entry_of(page, 2) &= ~beyond;
  }
  line("pde_2m_low_address_bits");
  constexpr u64 large = window_va + (4 << 20);
  *entry_of(large, 2) = new_large_frame() | user_page | pte::ps | 0x2000;
  cpu::flush_tlb();
  expect_page_fault(access(u, 'r', large), 0xd, large);
  line("pdpte_1g_low_address_bits");
  constexpr u64 huge = u64{6} << 39;
  *entry_of(huge, 3) = (u64{1} << 30) | user_page | pte::ps | 0x2000;
  cpu::flush_tlb();
  expect_page_fault(access(u, 'r', huge), 0xd, huge);
  line("pml4e_ps");
  map(huge, new_frame(), user_page);
  *entry_of(huge, 4) |= pte::ps;
  cpu::flush_tlb();
  expect_page_fault(access(u, 'r', huge), 0xd, huge);
}

// ---- 4.8: accessed in every entry used, dirty in the last one and for writes only.
CASE(accessed_and_dirty) {
  constexpr u64 far = u64{5} << 39;
  map(far, new_frame(), user_page);
  auto clear = [] {
    for (unsigned l = 1; l <= 4; l++) *entry_of(far, l) &= ~(pte::a | pte::d);
    cpu::flush_tlb();
  };
  auto bits = [] {
    u64 v = 0;
    for (unsigned l = 1; l <= 4; l++) v |= ((*entry_of(far, l) & (pte::a | pte::d)) >> 5) << (4 * (l - 1));
    return v;
  };
  line("read");
  clear();
  access(u, 'r', far);
  expect("bits", bits(), 0x1111);
  line("write");
  clear();
  access(u, 'w', far);
  expect("bits", bits(), 0x1113);
  line("write_after_read");
  clear();
  access(u, 'r', far);
  access(u, 'w', far);
  expect("bits", bits(), 0x1113);
  line("fetch");
  clear();
  at<u16>(*entry_of(far) & pte::address) = 0x81cd;
  access(u, 'x', far);
  expect("bits", bits(), 0x1111);
  line("faulting_write_sets_no_dirty");
  *entry_of(far) &= ~pte::w;
  clear();
  access(u, 'w', far);
  expect("dirty", bits() & 2, 0);
  *entry_of(far) |= pte::w;
  line("read_modify_write");
  clear();
  run(u, CODE("lock xadd [rbx], eax"), {.rbx = far});
  expect("bits", bits(), 0x1113);
  line("cmpxchg_failing_writes_too");
  clear();
  run(u, CODE("lock cmpxchg [rbx], ecx"), {.rax = 1, .rcx = 2, .rbx = far});
  expect("bits", bits(), 0x1113);
}

CASE(accessed_and_dirty_of_large_pages) {
  constexpr u64 large = window_va + (4 << 20);
  *entry_of(large, 2) = new_large_frame() | user_page | pte::ps;
  cpu::flush_tlb();
  line("read");
  expect_done(access(u, 'r', large + 0x12345));
  expect("bits", *entry_of(large, 2) & (pte::a | pte::d), pte::a);
  line("write");
  expect_done(access(u, 'w', large + 0x54321));
  expect("bits", *entry_of(large, 2) & (pte::a | pte::d), pte::a | pte::d);
}

CASE(page_sizes_reach_the_same_memory) {
  constexpr u64 large = window_va + (4 << 20), huge = u64{6} << 39;
  const u64 frame = new_large_frame();
  map(large, frame, kernel_page, 2);
  map(huge, 0, kernel_page, 3);
  at(large + 0x123450) = 0x1122334455667788;
  expect("one_to_one", at(frame + 0x123450), 0x1122334455667788);
  expect("by_1g", at(huge + frame + 0x123450), 0x1122334455667788);
}

// An access that crosses pages faults with the address of the part that misses (CR2: first byte of the second page).
CASE(crossing_pages) {
  map(page, new_frame(), user_page);
  line("read");
  expect_page_fault(run(u, CODE("mov rax, [rbx]"), {.rbx = page + 0xffc}), 4, page + 0x1000);
  line("write_changes_nothing");
  at(page + 0xff8) = 0x1111111111111111;
  expect_page_fault(run(u, CODE("mov [rbx], rax"), {.rbx = page + 0xffc}), 6, page + 0x1000);
  expect("memory", at(page + 0xff8), 0x1111111111111111);
  line("both_present");
  map(page + 0x1000, new_frame(), user_page);
  expect_done(run(u, CODE("mov [rbx], rax"), {.rax = 0x2222222233333333, .rbx = page + 0xffc}));
  expect("low", at<u32>(page + 0xffc), 0x33333333);
  expect("high", at<u32>(page + 0x1000), 0x22222222);
}

// 4.6.1: SMEP and SMAP. The AC flag, at CPL 0, allows explicit accesses only.
CASE(smep) {
  if (!need(has_leaf7_ebx(7), "smep")) return;
  map(page, new_frame(), user_page);
  at<u16>(page) = 0x81cd;
  cpu::set_cr4(cpu::cr4() | CR4_SMEP);
  line("fetch_from_user_page");
  expect_page_fault(run_on_supervisor_page(CODE("jmp rbx"), {.rbx = page}), 0x11, page);
  line("fetch_from_supervisor_page");
  *entry_of(page) &= ~pte::u;
  cpu::flush_tlb();
  expect("vector", run_on_supervisor_page(CODE("jmp rbx"), {.rbx = page}).vector, vec::done);
}

CASE(smap) {
  if (!need(has_leaf7_ebx(20), "smap")) return;
  map(page, new_frame(), user_page);
  cpu::set_cr4(cpu::cr4() | CR4_SMAP);
  line("read");
  expect_page_fault(run_on_supervisor_page(CODE("mov eax, [rbx]"), {.rbx = page}), 1, page);
  line("write");
  expect_page_fault(run_on_supervisor_page(CODE("mov [rbx], eax"), {.rbx = page}), 3, page);
  line("read_with_stac");
  expect_done(run_on_supervisor_page(CODE("stac; mov eax, [rbx]; clac"), {.rbx = page}));
  line("clac_ends_it");
  expect_page_fault(run_on_supervisor_page(CODE("stac; mov eax, [rbx]; clac; mov eax, [rbx]"), {.rbx = page}), 1, page);
  line("ac_by_popf");
  expect_done(run_on_supervisor_page(CODE("mov eax, [rbx]"), {.rbx = page}, flag::fixed | flag::ac));
  line("implicit_access_ignores_ac");  // an LDT on a user page, read by a segment load
  at(*entry_of(page) & pte::address) = descriptor(0, 0xfffff, attr_data);
  set_gdt_system(SCRATCH_SELECTOR, page, 7, attr_ldt);
  asm volatile("lldt %w0" ::"r"(u64{SCRATCH_SELECTOR}));
  Trap t = attempt([] { asm volatile("stac; mov %0, %%fs" ::"r"(u64{4})); });
  expect_page_fault(t, 1, page);
}

CASE(stac_clac_at_cpl3) {
  line("stac");
  expect_fault(run(u, CODE("stac")), vec::ud, 0, 0);
  line("clac");
  expect_fault(run(u, CODE("clac")), vec::ud, 0, 0);
}

// 4.10: a cached translation may be used until it is invalidated; afterwards the tables count.
CASE(invlpg) {
  map(page, new_frame(), kernel_page);
  at(page) = 1;
  u64 second = new_frame();
  at(second) = 2;
  *entry_of(page) = second | kernel_page;
  cpu::invlpg(page + 0xabc);
  expect("value", at(page), 2);
  line("large_page");
  constexpr u64 large = window_va + (4 << 20);
  u64 a = new_large_frame(), b = new_large_frame();
  at(a + 0x100000) = 3;
  at(b + 0x100000) = 4;
  map(large, a, kernel_page, 2);
  expect("before", at(large + 0x100000), 3);
  *entry_of(large, 2) = b | kernel_page | pte::ps;
  cpu::invlpg(large);
  expect("after", at(large + 0x100000), 4);
  line("noncanonical_is_nothing");
  expect("vector", attempt([] { cpu::invlpg(0x8000'0000'0000); }).vector, vec::none);
}

// More rights need no invalidation if the access faulted: the fault throws the entry away (4.10.4.1).
CASE(fault_invalidates) {
  map(page, new_frame(), pte::p | pte::u);
  access(u, 'r', page);
  expect_page_fault(access(u, 'w', page), 7, page);
  *entry_of(page) |= pte::w;
  expect_done(access(u, 'w', page));
}

// Global pages survive a load of CR3, but not a change of CR4.PGE (4.10.4.1).
CASE(global_pages) {
  cpu::set_cr4(cpu::cr4() | CR4_PGE);
  map(page, new_frame(), kernel_page | pte::g);
  at(page) = 1;
  u64 second = new_frame();
  at(second) = 2;
  *entry_of(page) = second | kernel_page | pte::g;
  cpu::set_cr4(cpu::cr4() & ~u64{CR4_PGE});
  expect("after_pge_cleared", at(page), 2);
  *entry_of(page) = 0;
  cpu::set_cr4(cpu::cr4() | CR4_PGE);
  expect_page_fault(access(k, 'r', page), 0, page);
}

// 4.10.1 and table 4-12: PCIDs, CR3 bit 63, and the rules for CR4.PCIDE (2.5, MOV to CR4).
CASE(pcid) {
  if (!need(cpu::cpuid(1).ecx >> 17 & 1, "pcid")) return;
  const u64 root = cpu::cr3();
  line("pcide_needs_zero_pcid");
  cpu::set_cr3(root | 8);
  expect_fault(attempt([] { cpu::set_cr4(cpu::cr4() | CR4_PCIDE); }), vec::gp, 0);
  cpu::set_cr3(root);
  line("enable");
  expect("vector", attempt([] { cpu::set_cr4(cpu::cr4() | CR4_PCIDE); }).vector, vec::none);
  line("cr3_bit_63_is_not_kept");
  cpu::set_cr3(root | 5 | (u64{1} << 63));
  expect("cr3", cpu::cr3(), root | 5);
  line("cr3_bit_62_is_reserved");
  expect_fault(attempt([&] { cpu::set_cr3(root | (u64{1} << 62)); }), vec::gp, 0);
  line("load_without_bit_63_invalidates_its_pcid");
  map(page, new_frame(), kernel_page);
  at(page) = 1;
  u64 second = new_frame();
  at(second) = 2;
  *entry_of(page) = second | kernel_page;
  cpu::set_cr3(root | 5);
  expect("value", at(page), 2);
  line("translations_of_another_pcid_are_not_used");
  u64 other = new_frame();
  for (unsigned i = 0; i < 512; i++) at(other + i * 8) = at((root & pte::address) + i * 8);
  cpu::set_cr3(other | 6);
  *entry_of(page, 4) = *entry_of(page, 4);
  expect("value", at(page), 2);
  line("pg_cannot_go_off_with_pcide");
  cpu::set_cr3(root);
  expect_fault(attempt([] { cpu::set_cr0(cpu::cr0() & ~(u64{1} << 31)); }), vec::gp, 0);
}

CASE(cr3_bit_63_without_pcide) {
  if (on_tcg()) return skip("CR3's reserved bits are not checked");
  const u64 root = cpu::cr3();
  expect_fault(attempt([&] { cpu::set_cr3(root | (u64{1} << 63)); }), vec::gp, 0);
}

// INVPCID (vol. 2A): types 0 to 3; a type beyond, reserved descriptor bits, a PCID without PCIDE, a non-canonical
// address of type 0: #GP(0).
CASE(invpcid) {
  if (!need(has_leaf7_ebx(10), "invpcid")) return;
  struct Descriptor {
    u64 pcid, address;
  };
  static auto invpcid = [](u64 type, Descriptor d) { asm volatile("invpcid %1, %0" ::"r"(type), "m"(d) : "memory"); };
  static const struct {
    const char* name;
    u64 type;
    Descriptor d;
    bool faults;
  } rows[] = {
      {"type_4", 4, {0, 0}, true},
      {"type_0_pcid_without_pcide", 0, {1, 0}, true},
      {"type_1_pcid_without_pcide", 1, {1, 0}, true},
      {"type_0_noncanonical", 0, {0, 0x8000'0000'0000}, true},
      {"reserved_bit", 2, {0x1000, 0}, true},
      {"type_0", 0, {0, page}, false},
      {"type_1", 1, {0, 0}, false},
      {"type_2", 2, {0, 0}, false},
      {"type_3", 3, {0, 0}, false},
  };
  for (const auto& row : rows) {
    line(row.name);
    Trap t = attempt([&] { invpcid(row.type, row.d); });
    expect("vector", t.vector, row.faults ? vec::gp : vec::none);
    expect("error", t.vector == vec::gp ? t.error : 0, 0);
    if (row.faults) continue;
    map(page, new_frame(), kernel_page);
    at(page) = 1;
    u64 second = new_frame();
    at(second) = 2;
    *entry_of(page) = second | kernel_page;
    invpcid(row.type, row.d);
    expect("value", at(page), 2);
  }
  line("cpl3");
  expect_fault(run(u, CODE("invpcid rax, [rbx]"), {.rbx = data_va}), vec::gp, 0, 0);
}

// Tables that map themselves (entry 510 of the PML4 points at the PML4): the walk sees tables as pages.
CASE(recursive_tables) {
  const u64 root = cpu::cr3() & pte::address;
  at(root + 510 * 8) = root | kernel_page;
  cpu::flush_tlb();
  constexpr u64 recursive =
      0xffff'0000'0000'0000 | (u64{510} << 39) | (u64{510} << 30) | (u64{510} << 21) | (u64{510} << 12);
  expect("self", at(recursive + 510 * 8) & pte::address, root);
  line("pte_by_the_window");
  map(page, new_frame(), kernel_page);
  constexpr u64 pte_va = 0xffff'0000'0000'0000 | (u64{510} << 39) | ((page >> 12) * 8);
  expect("same", at(pte_va) == *entry_of(page), 1);
  line("write_by_the_window");
  u64 second = new_frame();
  at(second) = 77;
  at(pte_va) = second | kernel_page;
  cpu::invlpg(page);
  expect("value", at(page), 77);
  line("walk_dirties_what_it_reads_as_pages");
  expect("pml4e_accessed", at(root + 510 * 8) & pte::a, pte::a);
}

// A page table entry changed by a store through another mapping counts at the next walk.
CASE(tables_through_an_alias) {
  u64 table = *entry_of(page, 2) & pte::address;
  if (!table) {
    map(page, new_frame(), kernel_page);
    table = *entry_of(page, 2) & pte::address;
  }
  constexpr u64 alias = window_va + 0x20000;
  map(alias, table, kernel_page);
  u64 frame = new_frame();
  at(frame) = 5;
  at(alias + ((page >> 12) & 511) * 8) = frame | kernel_page;
  cpu::invlpg(page);
  expect("value", at(page), 5);
}

// 3.3.7.1: canonical upper half works like any other address.
CASE(upper_half) {
  constexpr u64 high = 0xffff'ffff'8000'0000;
  map(high, new_frame(), user_page);
  expect_done(access(u, 'w', high + 8));
  expect_page_fault(access(u, 'r', high + 0x1000), 4, high + 0x1000);
}
