// Tools of the hostile payloads: what a malicious guest would throw at its host, from fixed seeds. They report how far
// they came; how they end (power off, shutdown, a hang that the host's timeout ends) is their own affair. The host
// process must only never be harmed.
#pragma once

#include "payload.hpp"

/// xorshift64* (Vigna, 2014), good enough to be wild.
class Random {
 public:
  explicit Random(u64 seed) : state_(seed) {}
  u64 next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1d;
  }
  u64 below(u64 n) { return next() % n; }
  /// Values that tend to hit edges: small, all ones, single bits, addresses, or anything.
  u64 wild() {
    switch (below(8)) {
      case 0: return below(16);
      case 1: return ~below(16);
      case 2: return u64{1} << below(64);
      case 3: return (u64{1} << below(64)) - 1;
      case 4: return 0x7fff'ffff'f000 + below(0x2000);
      case 5: return below(64 << 20);
      case 6: return 0xfec0'0000 + below(0x40'0000);
      default: return next();
    }
  }

 private:
  u64 state_;
};

/// Ports that would end the machine: ACPI sleep and reset, QEMU's exit device.
inline bool ends_machine(u32 port) { return (port >= 0x5fd && port <= 0x605) || (port >= 0x4fe && port <= 0x505); }

/// Physical places of every kind: RAM, APICs, holes, the top, the EPC if there is one.
inline u64 place(Random& random) {
  const cpu::Cpuid r = cpu::cpuid(0x12, 2);
  const u64 epc = (u64{r.ebx & 0xfffff} << 32) | (r.eax & 0xfffff000);
  switch (random.below(8)) {
    case 0: return 0xfee0'0000;
    case 1: return 0xfec0'0000;
    case 2: return epc + random.below(1024) * 4096;
    case 3: return 0xd000'0000 + random.below(4096) * 4096;
    case 4: return (random.next() & 0x7f'ffff'f000);
    case 5: return 0xe0000;
    case 6: return (200ul << 20) + random.below(1024) * 4096;
    default: return new_frame();
  }
}
