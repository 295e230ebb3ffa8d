// SGX as far as a kernel meets it at boot, in a domain with 64 MiB of EPC: CPUID leaf 0x12 (SDM vol. 3D, 36.7),
// IA32_FEATURE_CONTROL (36.7.1), the launch hash MSRs, ENCLS and ENCLU's front end (39.1 to 39.3, EREMOVE in 39.3), and
// the abort page (36.5.3): outside enclaves an EPC page reads all ones and swallows writes.
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64, u = Mode::user64;
constexpr u64 epc_window = u64{6} << 39;  // the EPC's first gibibyte
constexpr u64 eremove = 3;

struct Epc {
  u64 base, bytes;
};
Epc epc() {
  const cpu::Cpuid r = cpu::cpuid(0x12, 2);
  return {(u64{r.ebx & 0xfffff} << 32) | (r.eax & 0xfffff000), (u64{r.edx & 0xfffff} << 32) | (r.ecx & 0xfffff000)};
}

/// Maps the gibibyte around the EPC; the linear address of its first byte.
u64 map_epc(u64 flags = pte::p | pte::w) {
  const u64 base = epc().base;
  map(epc_window, base & ~0x3fff'fffful, flags, 3);
  return epc_window + (base & 0x3fff'ffff);
}

Trap encls(u64 leaf, u64 rcx, u64 rbx = 0) {
  return run(k, CODE(".byte 0x0f, 0x01, 0xcf"), {.rax = leaf, .rcx = rcx, .rbx = rbx});
}

}  // namespace

CASE(cpuid) {
  line("leaf_7");
  expect("sgx", cpu::cpuid(7).ebx >> 2 & 1, 1);
  expect("sgx_lc", cpu::cpuid(7).ecx >> 30 & 1, 1);
  expect("max_leaf_is_enough", cpu::cpuid(0).eax >= 0x12, 1);
  line("leaf_12_0");
  const cpu::Cpuid r0 = cpu::cpuid(0x12, 0);
  expect("sgx1", r0.eax & 1, 1);
  expect("reserved", r0.eax & 0xfffff31c, 0);
  expect("ecx", r0.ecx, 0);
  expect("sizes", (r0.edx & 0xff) >= 31 && (r0.edx >> 8 & 0xff) >= 36 && !(r0.edx >> 16), 1);
  line("leaf_12_1");
  const cpu::Cpuid r1 = cpu::cpuid(0x12, 1);
  expect("attributes", r1.eax & 0x36, 0x36);
  expect("reserved", r1.eax & ~0x4f7u, 0);
  expect("xfrm_x87_sse", r1.ecx & 3, 3);
  expect("xfrm_within_xcr0", r1.ecx & ~cpu::cpuid(13).eax, 0);
  line("leaf_12_2");
  const cpu::Cpuid r2 = cpu::cpuid(0x12, 2);
  expect("type", r2.eax & 0xfff, 1);
  expect("property", r2.ecx & 0xfff, 1);
  expect("bytes", epc().bytes, 64 << 20);
  expect("above_4g", epc().base >= u64{1} << 32, 1);
  line("leaf_12_3");
  const cpu::Cpuid r3 = cpu::cpuid(0x12, 3);
  expect("all", r3.eax | r3.ebx | r3.ecx | r3.edx, 0);
}

CASE(feature_control) {
  expect("value", cpu::rdmsr(0x3a), 1 | (1 << 17) | (1 << 18));
  expect_fault(attempt([] { cpu::wrmsr(0x3a, 0); }), vec::gp, 0);
  expect_fault(attempt([] { cpu::wrmsr(0x3a, 0x60001); }), vec::gp, 0);
}

CASE(launch_hash) {
  static constexpr u64 intel[] = {0xa6053e051270b7ac, 0x6cfbe8ba8b3b413d, 0xc4916d99f2b3735d, 0xd4f8c05909f9bb3b};
  for (u32 i = 0; i < 4; i++) {
    expect("reset", cpu::rdmsr(0x8c + i), intel[i]);
    cpu::wrmsr(0x8c + i, 0x1111'0000'2222'0000 + i);
    expect("written", cpu::rdmsr(0x8c + i), 0x1111'0000'2222'0000 + i);
  }
}

// ---- EREMOVE: alignment before the EPC check, then the EPCM (an invalid page is removed with success).
CASE(eremove) {
  const u64 base = map_epc();
  line("invalid_page");
  Trap t = run(k, CODE(".byte 0x0f, 0x01, 0xcf"), {.rax = eremove, .rcx = base}, flag::fixed | 0x8d5);
  expect_done(t);
  expect("rax", t.gpr[0], 0);
  expect("flags", t.rflags & 0x8d5, 0);
  line("last_page");
  t = encls(eremove, base + epc().bytes - 4096);
  expect_done(t);
  expect("rax", t.gpr[0], 0);
  line("misaligned");
  expect_fault(encls(eremove, base + 8), vec::gp, 0, 0);
  line("misaligned_outside_epc");
  expect_fault(encls(eremove, data_va + 8), vec::gp, 0, 0);
  line("not_epc");
  t = encls(eremove, data_va);
  expect("vector", t.vector, vec::pf);
  expect("error", t.error & 0x8001, 0x8001);  // P and SGX: not visible in the page tables
  expect("cr2", t.cr2, data_va);
  line("behind_epc");
  t = encls(eremove, base + epc().bytes);
  expect("vector", t.vector, vec::pf);
  expect("cr2", t.cr2, base + epc().bytes);
  line("not_mapped");
  expect_page_fault(encls(eremove, window_va), 2, window_va);
  line("noncanonical");
  expect_fault(encls(eremove, 0x8000'0000'0000), vec::gp, 0, 0);
  line("upper_half_of_rax_is_ignored");
  t = encls(eremove | u64{7} << 32, base);
  expect_done(t);
  expect("rax", t.gpr[0], 0);
}

// An operand's translation is cached like any other (SDM vol. 3A, 4.10): what INVLPG forgets is looked up again, and a
// write after a read still sets the dirty flag.
CASE(operand_translation) {
  constexpr u64 eextend = 6;
  const u64 frame = new_frame();
  map(window_va, epc().base, pte::p | pte::w);
  map(window_va + 4096, epc().base + 4096, pte::p | pte::w);
  line("read");
  expect("vector", encls(eextend, window_va, window_va + 4096).vector, vec::pf);  // no page of an enclave
  expect("accessed", *entry_of(window_va) & (pte::a | pte::d), pte::a);
  line("write");
  expect("rax", encls(eremove, window_va).gpr[0], 0);
  expect("dirty", *entry_of(window_va) & (pte::a | pte::d), pte::a | pte::d);
  line("another_page");
  map(window_va, frame, pte::p | pte::w);
  Trap t = encls(eremove, window_va);
  expect("vector", t.vector, vec::pf);
  expect("error", t.error & 0x8001, 0x8001);
  line("epc_again");
  map(window_va, epc().base, pte::p | pte::w);
  expect("rax", encls(eremove, window_va).gpr[0], 0);
  line("read_only");
  map(window_va, epc().base, pte::p);
  expect_page_fault(encls(eremove, window_va), 3, window_va);
  line("unmapped");
  map(window_va, 0, 0);
  expect_page_fault(encls(eremove, window_va), 2, window_va);
}

CASE(eremove_in_compatibility_mode) {
  map(window_va, epc().base, pte::p | pte::w);
  Trap t = run(Mode::kernel32, CODE32(".byte 0x0f, 0x01, 0xcf"), {.rax = eremove, .rcx = window_va});
  expect_done(t);
  expect("rax", t.gpr[0], 0);
}

// 39.3: a leaf that CPUID does not enumerate is #GP(0), before any operand is looked at.
CASE(unsupported_leaves) {
  for (u64 leaf : {0x14ul, 0x17ul, 0x19ul, 0x3ful, 0x40ul, 0x7ffffffful, 0xfffffffful}) {
    expect_fault(encls(leaf, 0x1234), vec::gp, 0, 0);
  }
}

// So is one of a feature that CPUID does not list, whatever the processor has; else it looks at its operands.
CASE(leaves_by_feature) {
  static const struct {
    unsigned bit;  // of leaf 12H, EAX
    u64 leaf;
    const char *listed, *hidden;
  } rows[] = {
      {1, 0xd, "eaug", "eaug_hidden"},    {1, 0xe, "emodpr", "emodpr_hidden"},    {1, 0xf, "emodt", "emodt_hidden"},
      {6, 0x12, "eldbc", "eldbc_hidden"}, {6, 0x11, "etrackc", "etrackc_hidden"},
  };
  for (const auto& row : rows) {
    const bool listed = cpu::cpuid(0x12, 0).eax >> row.bit & 1;
    line(listed ? row.listed : row.hidden);
    const Trap t = encls(row.leaf, data_va, data_va);
    expect("vector", t.vector, listed ? vec::pf : vec::gp);
  }
  line("eupdatesvn");  // has no operands
  expect("vector", encls(0x18, 0).vector, cpu::cpuid(0x12, 0).eax >> 10 & 1 ? vec::done : vec::gp);
}

// 39.1: LOCK, 66, F2, F3 are #UD; segment overrides, 67 and REX are ignored.
CASE(prefixes) {
  const u64 base = map_epc();
  static const struct {
    const char* name;
    Code code;
    bool faults;
  } rows[] = {
      {"lock", CODE(".byte 0xf0, 0x0f, 0x01, 0xcf"), true},   {"66", CODE(".byte 0x66, 0x0f, 0x01, 0xcf"), true},
      {"f2", CODE(".byte 0xf2, 0x0f, 0x01, 0xcf"), true},     {"f3", CODE(".byte 0xf3, 0x0f, 0x01, 0xcf"), true},
      {"rex_w", CODE(".byte 0x48, 0x0f, 0x01, 0xcf"), false}, {"ds", CODE(".byte 0x3e, 0x0f, 0x01, 0xcf"), false},
      {"67", CODE(".byte 0x67, 0x0f, 0x01, 0xcf"), false},
  };
  for (const auto& row : rows) {
    line(row.name);
    Trap t = run(k, row.code, {.rax = eremove, .rcx = base});
    if (row.faults) {
      expect_fault(t, vec::ud, 0, 0);
    } else {
      expect_done(t);
    }
  }
}

CASE(privilege) {
  line("encls_at_cpl3");
  expect_fault(run(u, CODE(".byte 0x0f, 0x01, 0xcf"), {.rax = eremove}), vec::ud, 0, 0);
  line("enclu_at_cpl0");
  expect_fault(run(k, CODE(".byte 0x0f, 0x01, 0xd7")), vec::ud, 0, 0);
  line("enclu_with_ts");
  cpu::set_cr0(cpu::cr0() | CR0_TS);
  expect_fault(run(u, CODE(".byte 0x0f, 0x01, 0xd7"), {.rax = 2}), vec::nm, 0, 0);
  cpu::set_cr0(cpu::cr0() & ~u64{CR0_TS});
  line("enclu_unknown_leaf");
  expect_fault(run(u, CODE(".byte 0x0f, 0x01, 0xd7"), {.rax = 0x55}), vec::gp, 0, 0);
  line("enclu_enclave_only_leaf");  // EGETKEY outside an enclave
  expect_fault(run(u, CODE(".byte 0x0f, 0x01, 0xd7"), {.rax = 1}), vec::gp, 0, 0);
}

// ---- The abort page.
CASE(abort_page) {
  const u64 base = map_epc();
  line("reads");
  expect("u8", at<volatile u8>(base + 3), 0xff);
  expect("u16", at<volatile u16>(base + 8), 0xffff);
  expect("u32", at<volatile u32>(base + 0xffc), 0xffffffff);
  expect("u64", at<volatile u64>(base + 0x1000), ~0ul);
  expect("crossing", at<volatile u64>(base + 0xffd), ~0ul);
  line("writes_are_swallowed");
  at<volatile u64>(base + 0x20) = 0x1234;
  expect("u64", at<volatile u64>(base + 0x20), ~0ul);
  line("locked");
  Trap t = run(k, CODE("xor eax, eax; lock xadd [rbx], rax; mov rcx, [rbx]"), {.rbx = base});
  expect_done(t);
  expect("old", t.gpr[0], ~0ul);
  expect("new", t.gpr[1], ~0ul);
  line("rep_movs");
  t = run(k, CODE("mov rsi, rbx; mov rdi, rdx; mov ecx, 64; rep movsb; mov rax, [rdx + 8]"),
          {.rdx = data_va, .rbx = base});
  expect_done(t);
  expect("copied", t.gpr[0], ~0ul);
  line("sse");
  t = run(k, CODE("movups xmm0, [rbx]; movups [rdx], xmm0; mov rax, [rdx]"), {.rdx = data_va + 64, .rbx = base});
  expect_done(t);
  expect("value", t.gpr[0], ~0ul);
  line("by_user");
  map_epc(pte::p | pte::w | pte::u);
  t = run(u, CODE("mov rax, [rbx]; mov [rbx], rcx; mov rdx, [rbx]"), {.rbx = base});
  expect_done(t);
  expect("before", t.gpr[0], ~0ul);
  expect("after", t.gpr[2], ~0ul);
  line("eremove_after_writes");
  expect("rax", encls(eremove, base).gpr[0], 0);
}

// What is fetched from the abort page is FF FF: #UD.
CASE(fetch_from_epc) {
  const u64 base = map_epc();
  Trap t = run(k, CODE("jmp rbx"), {.rbx = base});
  expect_fault(t, vec::ud, 0);
  expect("rip", t.rip, base);
}

// A page table in the EPC reads as entries of all ones: present, with reserved bits.
CASE(page_table_in_epc) {
  if ((cpu::cpuid(0x80000008).eax & 0xff) >= 52) return skip("no reserved address bits");
  map(window_va, new_frame(), pte::p | pte::w);
  *entry_of(window_va, 2) = epc().base | pte::p | pte::w | pte::u;
  cpu::flush_tlb();
  expect_page_fault(run(k, CODE("mov eax, [rbx]"), {.rbx = window_va}), 9, window_va);
}

// A descriptor table, a stack and string I/O there do no harm.
CASE(epc_as_a_stack) {
  const u64 base = map_epc();
  Trap t = run(k, CODE("mov rdx, rsp; lea rsp, [rbx + 0x800]; push 5; pop rax; mov rsp, rdx"), {.rbx = base});
  expect_done(t);
  expect("rax", t.gpr[0], ~0ul);
}

CASE(epc_as_gdt) {
  const u64 base = map_epc();
  const cpu::TableRegister in_epc{0xfff, base}, own{sizeof gdt - 1, reinterpret_cast<u64>(gdt)};
  Trap t = attempt([&] { asm volatile("lgdt %0\n mov %1, %%fs" ::"m"(in_epc), "r"(u64{0x28})); });
  asm volatile("lgdt %0" ::"m"(own));
  expect("vector", t.vector, vec::none);  // all ones: present conforming code that may be read, DPL 3
  expect("fs_base", cpu::rdmsr(0xc0000100), 0xffffffff);
}
