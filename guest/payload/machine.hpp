// The baseline machine of a case: page tables, descriptor tables, TSS, stacks (SDM vol. 3A, ch. 3 to 7).
#pragma once

#include "cpu.hpp"

// ---- linear addresses. The first 512 MiB, all RAM, are mapped one to one, supervisor; the local APIC and the IOAPIC
// too.
inline constexpr u64 code_va = 0x4000'0000;   ///< 4 pages, user, writable: run()'s code
inline constexpr u64 stack_va = 0x4001'0000;  ///< 4 pages, user, writable; the stack starts at stack_top
inline constexpr u64 stack_top = stack_va + 0x4000 - 64;
inline constexpr u64 data_va = 0x4002'0000;    ///< 4 pages, user, writable
inline constexpr u64 kdata_va = 0x4003'0000;   ///< 4 pages, supervisor, writable
inline constexpr u64 window_va = 0x5000'0000;  ///< nothing mapped up to 0x8000'0000: for map()

/// Page-table entry bits (SDM vol. 3A, tables 4-15 to 4-20).
namespace pte {
inline constexpr u64 p = 1, w = 2, u = 4, pwt = 8, pcd = 16, a = 32, d = 64, ps = 128, g = 256, nx = u64{1} << 63,
                     address = 0x000f'ffff'ffff'f000;
}

/// Puts everything back to the baseline.
void reset_machine();
/// GDT, IDT, TSS and segment registers alone.
void reset_descriptors();

/// A fresh zeroed frame of 4 KiB, reachable one to one; until the case ends.
u64 new_frame();
/// 2 MiB of fresh memory, aligned.
u64 new_large_frame();
/// The entry that maps `va` at `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB, 4: PML4E); makes the tables above it.
u64* entry_of(u64 va, unsigned level = 1);
/// Sets the entry and flushes `va`.
void map(u64 va, u64 physical, u64 flags, unsigned level = 1);
/// Physical address behind a mapped 4 KiB page of the baseline windows.
u64 physical_of(u64 va);

template <class T = u64>
T& at(u64 address) {
  return *reinterpret_cast<T*>(address);
}

// ---- descriptors

extern u64 gdt[128];
struct Gate {
  u64 low, high;
};
extern Gate idt[256];

/// 64-bit TSS (SDM vol. 3A, figure 7-11).
struct __attribute__((packed)) Tss {
  u32 reserved0;
  u64 rsp[3];
  u64 reserved1;
  u64 ist[7];
  u64 reserved2;
  u16 reserved3, io_map;
  u8 bitmap[8193];
};
extern Tss tss;

inline constexpr u64 ring0_stack_bytes = 0x4000;
extern u8 ring0_stack[ring0_stack_bytes];  ///< TSS.RSP0
extern u8 ist_stack[7][4096];              ///< TSS.IST1 to 7

/// Attributes: bits 7:0 type, S, DPL, P; bits 15:12 AVL, L, D/B, G.
constexpr u64 descriptor(u32 base, u32 limit20, u32 attributes) {
  return (limit20 & 0xffff) | (u64{base & 0xffffff} << 16) | (u64{attributes & 0xff} << 40) |
         (u64{(limit20 >> 16) & 15} << 48) | (u64{(attributes >> 12) & 15} << 52) | (u64{base >> 24} << 56);
}
inline constexpr u32 attr_code64 = 0xa09b, attr_code32 = 0xc09b, attr_data = 0xc093, attr_ldt = 0x0082,
                     attr_tss = 0x0089, attr_dpl3 = 0x60, attr_present = 0x80;
void set_gdt(u16 selector, u64 low);
void set_gdt_system(u16 selector, u64 base, u32 limit, u32 attributes);

/// An IDT gate: type 14 interrupt, 15 trap.
void set_gate(unsigned vector, u64 target, u16 selector = KERNEL_CS, unsigned type = 14, unsigned dpl = 0,
              unsigned ist = 0, bool present = true);
/// The catcher's entry point for the vector.
u64 stub_of(unsigned vector);
void load_idt(u16 limit = sizeof(Gate) * 256 - 1);
/// An error code that names a selector (SDM vol. 3A, figure 6-7) or an IDT entry.
constexpr u64 selector_error(u16 selector) { return selector & 0xfffcu; }
constexpr u64 idt_error(unsigned vector, bool external = false) { return vector * 8u + 2u + external; }
