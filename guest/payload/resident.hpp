// What payloads share that stay until somebody ends them: echoing what is typed, so that one can see that they live,
// and sleep until their timer wakes them (SDM vol. 3A, 11.5.4.1).
#pragma once

#include "payload.hpp"

namespace resident {

inline constexpr u8 timer_vector = 0x40;
inline constexpr u64 pause_cycles = 5'000'000;

inline void write_apic(u32 reg, u32 v) {
  if (cpu::rdmsr(0x1b) >> 10 & 1) {
    cpu::wrmsr(0x800 + reg / 16, v);
  } else {
    at<volatile u32>(0xfee0'0000 + reg) = v;
  }
}

/// Of the processor that calls: its local APIC's timer.
inline void prepare_timer() {
  set_hook(timer_vector, [](Frame&) {
    write_apic(0xb0, 0);
    return true;
  });
  write_apic(0xf0, 0x1ff);
  write_apic(0x320, (2 << 17) | timer_vector);
}

/// From the baseline on: console and timer.
inline void prepare() {
  cpu::out8(0x3fc, 3);  // DTR and RTS: ready to receive
  prepare_timer();
}

inline void sleep() {
  cpu::wrmsr(0x6e0, cpu::rdtsc() + pause_cycles);
  asm volatile("sti; hlt; cli" ::: "memory");
}

inline void echo() {
  while (cpu::in8(0x3fd) & 1) {
    char text[2] = {static_cast<char>(cpu::in8(0x3f8)), 0};
    print(text);
  }
}

}  // namespace resident
