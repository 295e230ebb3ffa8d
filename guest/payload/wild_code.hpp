// Random bytes as code, from a seed: half of them begin like real instructions, so that more than #UD is met. Bounded
// by single steps, and by the local APIC's timer where the code cannot switch interrupts off.
#pragma once

#include "hostile.hpp"

namespace wild {

inline u8 bytes[64];

inline void fill(Random& random) {
  static constexpr u8 starts[] = {0x0f, 0x48, 0x66, 0xf3, 0xf2, 0x65, 0x64, 0xf0,
                                  0xff, 0x8b, 0x89, 0xd9, 0xdd, 0xdb, 0xc7, 0x67};
  for (u8& b : bytes) b = static_cast<u8>(random.next() >> 13);
  for (unsigned i = 0; i < sizeof bytes; i += 4) {
    if (random.below(2)) bytes[i] = starts[random.below(sizeof starts)];
  }
}

inline Regs wild_regs(Random& random) {
  auto value = [&] { return random.below(2) ? data_va + random.below(0x4000) : random.wild(); };
  return {value(), value(), value(), value(), value(), value(), value(), value(), value()};
}

/// One-shot, as vector 0xf0; what came before is acknowledged.
inline void arm_timer(u32 count) {
  constexpr u64 apic = 0xfee0'0000;
  at<volatile u32>(apic + 0xf0) = 0x1ff;
  at<volatile u32>(apic + 0x3e0) = 0xb;
  at<volatile u32>(apic + 0x320) = 0xf0;
  at<volatile u32>(apic + 0x380) = count;
  at<volatile u32>(apic + 0xb0) = 0;
}

/// Runs until a trap that is not a single step, or 40 of those.
inline void run_wild(Mode mode, Random& random) {
  static unsigned steps;
  steps = 0;
  set_hook(vec::db, [](Frame& frame) {
    frame.rflags &= ~flag::interrupt;
    cpu::set_dr6(0xffff0ff0);
    return ++steps < 40;
  });
  fill(random);
  const bool user = mode == Mode::user64 || mode == Mode::user32;
  if (user) arm_timer(200'000);
  run(mode, {bytes, bytes + sizeof bytes}, wild_regs(random), flag::fixed | flag::tf | (user ? flag::interrupt : 0));
  if (user) arm_timer(0);
}

}  // namespace wild
