// The baseline machine: see machine.hpp.
#include "machine.hpp"

extern "C" const u8 trap_stubs[];
extern "C" const u8 boot_pml4[];

u64 __attribute__((aligned(16))) gdt[128];
Gate __attribute__((aligned(16))) idt[256];
Tss __attribute__((aligned(16))) tss;
u8 __attribute__((aligned(16))) ring0_stack[ring0_stack_bytes];
u8 __attribute__((aligned(16))) ist_stack[7][4096];

namespace {

constexpr u64 pool_base = 32 << 20;
u64 pool_next;
u64 root;

constexpr unsigned shift_of(unsigned level) { return 12 + 9 * (level - 1); }

void map_range(u64 va, unsigned pages, u64 flags) {
  for (unsigned i = 0; i < pages; i++) map(va + i * 4096, new_frame(), flags);
}

void reset_paging() {
  pool_next = pool_base;
  root = new_frame();
  for (u64 pa = 0; pa < (512ul << 20); pa += 2 << 20) map(pa, pa, pte::p | pte::w, 2);
  for (u64 pa : {0xfec0'0000ul, 0xfee0'0000ul}) map(pa, pa, pte::p | pte::w | pte::pcd | pte::pwt | pte::nx, 2);
  map_range(code_va, 4, pte::p | pte::w | pte::u);
  map_range(stack_va, 4, pte::p | pte::w | pte::u);
  map_range(data_va, 4, pte::p | pte::w | pte::u);
  map_range(kdata_va, 4, pte::p | pte::w);
  cpu::set_cr3(root);
}

}  // namespace

void reset_descriptors() {
  for (u64& entry : gdt) entry = 0;
  set_gdt(KERNEL_CS32, descriptor(0, 0xfffff, attr_code32));
  set_gdt(KERNEL_CS, descriptor(0, 0xfffff, attr_code64));
  set_gdt(KERNEL_DS, descriptor(0, 0xfffff, attr_data));
  set_gdt(USER_CS32, descriptor(0, 0xfffff, attr_code32 | attr_dpl3));
  set_gdt(USER_DS, descriptor(0, 0xfffff, attr_data | attr_dpl3));
  set_gdt(USER_CS, descriptor(0, 0xfffff, attr_code64 | attr_dpl3));
  set_gdt(USER_DS_SYSEXIT, descriptor(0, 0xfffff, attr_data | attr_dpl3));
  set_gdt_system(TSS_SELECTOR, reinterpret_cast<u64>(&tss), 103, attr_tss);

  tss = {};
  tss.rsp[0] = reinterpret_cast<u64>(ring0_stack + ring0_stack_bytes);
  for (unsigned i = 0; i < 7; i++) tss.ist[i] = reinterpret_cast<u64>(ist_stack[i] + sizeof ist_stack[i]);
  tss.io_map = sizeof tss;

  for (unsigned v = 0; v < 256; v++) set_gate(v, stub_of(v));
  set_gate(8, stub_of(8), KERNEL_CS, 14, 0, 1);
  set_gate(0x81, stub_of(0x81), KERNEL_CS, 14, 3);

  const cpu::TableRegister gdtr{sizeof gdt - 1, reinterpret_cast<u64>(gdt)};
  asm volatile("lgdt %0" ::"m"(gdtr));
  load_idt();
  asm volatile(
      "mov %0, %%ss\n mov %0, %%ds\n mov %0, %%es\n mov %1, %%fs\n mov %1, %%gs\n lldt %w1\n ltr %w2" ::"r"(KERNEL_DS),
      "r"(0), "r"(TSS_SELECTOR)
      : "memory");
}

u64 new_frame() {
  u64 frame = pool_next;
  pool_next += 4096;
  for (unsigned i = 0; i < 512; i++) at(frame + i * 8) = 0;
  return frame;
}

u64 new_large_frame() {
  pool_next = (pool_next + (2 << 20) - 1) & ~u64{(2 << 20) - 1};
  u64 frame = pool_next;
  pool_next += 2 << 20;
  return frame;
}

u64* entry_of(u64 va, unsigned level) {
  u64 table = root;
  for (unsigned l = 4;; l--) {
    u64* entry = &at(table + ((va >> shift_of(l)) & 511) * 8);
    if (l == level) return entry;
    if (!(*entry & pte::p)) *entry = new_frame() | pte::p | pte::w | pte::u;
    table = *entry & pte::address;
  }
}

void map(u64 va, u64 physical, u64 flags, unsigned level) {
  *entry_of(va, level) = physical | flags | (level > 1 ? pte::ps : 0);
  cpu::invlpg(va);
}

u64 physical_of(u64 va) { return (*entry_of(va) & pte::address) | (va & 4095); }

void set_gdt(u16 selector, u64 low) { gdt[selector / 8] = low; }

void set_gdt_system(u16 selector, u64 base, u32 limit, u32 attributes) {
  gdt[selector / 8] = descriptor(static_cast<u32>(base), limit, attributes);
  gdt[selector / 8 + 1] = base >> 32;
}

void set_gate(unsigned vector, u64 target, u16 selector, unsigned type, unsigned dpl, unsigned ist, bool present) {
  idt[vector].low = (target & 0xffff) | (u64{selector} << 16) | (u64{ist} << 32) | (u64{type} << 40) |
                    (u64{dpl} << 45) | (u64{present} << 47) | ((target >> 16 & 0xffff) << 48);
  idt[vector].high = target >> 32;
}

u64 stub_of(unsigned vector) { return reinterpret_cast<u64>(trap_stubs) + vector * 16; }

void load_idt(u16 limit) {
  const cpu::TableRegister idtr{limit, reinterpret_cast<u64>(idt)};
  asm volatile("lidt %0" ::"m"(idtr));
}

void reset_machine() {
  asm volatile("cli; cld" ::: "memory");
  cpu::set_dr7(0x400);
  cpu::set_dr6(0xffff0ff0);
  cpu::set_dr0(0);
  cpu::set_dr1(0);
  cpu::set_dr2(0);
  cpu::set_dr3(0);
  cpu::set_cr8(0);
  cpu::set_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | u64{1} << 31);
  cpu::set_cr3(reinterpret_cast<u64>(boot_pml4));  // the last case's tables are about to be reused
  cpu::set_cr4(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT);
  cpu::wrmsr(0xc0000080, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
  reset_paging();
  reset_descriptors();
  for (u32 base : {0xc0000100u, 0xc0000101u, 0xc0000102u}) cpu::wrmsr(base, 0);
  asm volatile("fninit");
}
