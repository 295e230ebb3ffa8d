// The processor's privileged registers as functions, and integer names. Freestanding: nothing of a library.
#pragma once

#include <initializer_list>

#include "layout.h"

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long;
using i64 = long;

namespace cpu {

inline void out8(u16 port, u8 v) { asm volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
inline void out16(u16 port, u16 v) { asm volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }
inline void out32(u16 port, u32 v) { asm volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
inline u8 in8(u16 port) {
  u8 v;
  asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}
inline u16 in16(u16 port) {
  u16 v;
  asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}
inline u32 in32(u16 port) {
  u32 v;
  asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
  return v;
}

#define CONTROL_REGISTER(name)                               \
  inline u64 name() {                                        \
    u64 v;                                                   \
    asm volatile("mov %%" #name ", %0" : "=r"(v)::"memory"); \
    return v;                                                \
  }                                                          \
  inline void set_##name(u64 v) { asm volatile("mov %0, %%" #name ::"r"(v) : "memory"); }
CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)
CONTROL_REGISTER(cr8)
CONTROL_REGISTER(dr0)
CONTROL_REGISTER(dr1)
CONTROL_REGISTER(dr2)
CONTROL_REGISTER(dr3)
CONTROL_REGISTER(dr6)
CONTROL_REGISTER(dr7)
#undef CONTROL_REGISTER

inline u64 rdmsr(u32 index) {
  u32 lo, hi;
  asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index) : "memory");
  return (u64{hi} << 32) | lo;
}
inline void wrmsr(u32 index, u64 v) {
  asm volatile("wrmsr" ::"c"(index), "a"(static_cast<u32>(v)), "d"(static_cast<u32>(v >> 32)) : "memory");
}

struct Cpuid {
  u32 eax, ebx, ecx, edx;
};
inline Cpuid cpuid(u32 leaf, u32 subleaf = 0) {
  Cpuid r;
  asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
  return r;
}

inline u64 rdtsc() {
  u32 lo, hi;
  asm volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
  return (u64{hi} << 32) | lo;
}
inline void invlpg(u64 va) { asm volatile("invlpg (%0)" ::"r"(va) : "memory"); }
inline void flush_tlb() { set_cr3(cr3()); }
inline u64 rflags() {
  u64 v;
  asm volatile("pushfq; pop %0" : "=r"(v)::"memory");
  return v;
}

/// Operand of LGDT, SGDT, LIDT, SIDT in 64-bit mode (SDM vol. 3A, figure 2-6).
struct __attribute__((packed)) TableRegister {
  u16 limit;
  u64 base;
};

}  // namespace cpu

namespace flag {
inline constexpr u64 cf = 1, fixed = 2, zf = 0x40, tf = 0x100, interrupt = 0x200, df = 0x400, nt = 0x4000, rf = 0x10000,
                     ac = 0x40000, iopl3 = 0x3000;
}

/// Vectors (SDM vol. 3A, table 6-1).
namespace vec {
inline constexpr u64 de = 0, db = 1, nmi = 2, bp = 3, of = 4, br = 5, ud = 6, nm = 7, df = 8, ts = 10, np = 11, ss = 12,
                     gp = 13, pf = 14, mf = 16, ac = 17, xm = 19;
/// Our own: code that run() started has come to its end.
inline constexpr u64 done = 0x81;
/// No trap happened (attempt()).
inline constexpr u64 none = 0x100;
}  // namespace vec
