// Wild RDMSR and WRMSR over all ranges, every CPUID leaf region, and every I/O port in every width.
#include "hostile.hpp"

namespace {

constexpr auto k = Mode::kernel64;

/// MSRs whose value the payload itself lives by.
bool vital(u32 index) { return index == 0xc0000080 || index == 0x1b; }

}  // namespace

CASE(read_msrs) {
  unsigned read = 0;
  for (u32 base : {0u, 0x800u, 0xd00u, 0x4b564d00u, 0x40000000u, 0xc0000000u, 0xc0010000u, 0xc0011000u, 0xfffff000u}) {
    for (u32 i = 0; i < 0x1000; i++) {
      if (attempt([=] { cpu::rdmsr(base + i); }).vector == vec::none) read++;
    }
  }
  expect("some", read > 0, 1);
}

CASE(write_msrs) {
  Random random(1);
  for (u32 base : {0u, 0x800u, 0xd00u, 0x40000000u, 0xc0000000u, 0xc0010000u}) {
    for (u32 i = 0; i < 0x1000; i++) {
      if (vital(base + i)) continue;
      const u64 v = random.wild();
      attempt([=] { cpu::wrmsr(base + i, v); });
    }
  }
  for (unsigned i = 0; i < 20000; i++) {
    const u32 index = static_cast<u32>(random.wild());
    const u64 v = random.wild();
    if (!vital(index)) attempt([=] { cpu::wrmsr(index, v); });
  }
  expect("alive", 1, 1);
}

CASE(cpuid_everywhere) {
  Random random(2);
  for (u32 base : {0u, 0x20000000u, 0x40000000u, 0x7ffffff0u, 0x80000000u, 0x8fffff00u, 0xffffff00u}) {
    for (u32 i = 0; i < 0x100; i++) {
      for (u32 sub = 0; sub < 66; sub++) cpu::cpuid(base + i, sub);
    }
  }
  for (unsigned i = 0; i < 20000; i++) cpu::cpuid(static_cast<u32>(random.wild()), static_cast<u32>(random.wild()));
  expect("alive", 1, 1);
}

CASE(read_ports) {
  for (u32 port = 0; port < 0x10000; port++) {
    cpu::in8(static_cast<u16>(port));
    cpu::in16(static_cast<u16>(port));
    cpu::in32(static_cast<u16>(port));
  }
  expect("alive", 1, 1);
}

CASE(write_ports) {
  Random random(3);
  for (u32 port = 0; port < 0x10000; port++) {
    if (ends_machine(port) || (port >= 0x3f5 && port <= 0x3ff)) continue;
    const u32 v = static_cast<u32>(random.wild());
    cpu::out8(static_cast<u16>(port), static_cast<u8>(v));
    cpu::out16(static_cast<u16>(port), static_cast<u16>(v));
    cpu::out32(static_cast<u16>(port), v);
  }
  expect("alive", 1, 1);
}

// The UART in every state, put back at the end.
CASE(uart_registers) {
  Random random(4);
  for (unsigned i = 0; i < 5000; i++) {
    cpu::out8(static_cast<u16>(0x3f9 + random.below(7)), static_cast<u8>(random.next()));
    cpu::in8(static_cast<u16>(0x3f8 + random.below(8)));
  }
  cpu::out8(0x3fc, 0);
  cpu::out8(0x3fb, 3);
  cpu::out8(0x3f9, 0);
  cpu::out8(0x3fa, 0);
  expect("alive", 1, 1);
}

// The clock chip with wild dates, alarms and controls, put back at the end.
CASE(clock_registers) {
  Random random(14);
  for (unsigned i = 0; i < 5000; i++) {
    cpu::out8(0x70, static_cast<u8>(random.below(3) ? random.below(16) : random.next()));
    if (random.below(4)) cpu::out8(0x71, static_cast<u8>(random.next()));
    cpu::in8(0x71);
  }
  cpu::out8(0x70, 0x0a);
  cpu::out8(0x71, 0x26);
  cpu::out8(0x70, 0x0b);
  cpu::out8(0x71, 0x02);
  expect("alive", 1, 1);
}

// String I/O with huge counts, into and from memory that ends.
CASE(string_io) {
  Random random(5);
  map(window_va, new_frame(), pte::p | pte::w);
  static const Code codes[] = {CODE("rep insb"),  CODE("rep insd"),      CODE("rep outsb"),
                               CODE("rep outsw"), CODE("std; rep insw"), CODE("addr32 rep outsd")};
  for (unsigned i = 0; i < 200; i++) {
    const u64 at = window_va + random.below(4096);
    u64 port = random.below(0x10000);
    if (ends_machine(static_cast<u32>(port)) || (port >= 0x3f5 && port <= 0x3ff)) port = 0x80;
    run(k, codes[random.below(6)], {.rcx = random.next(), .rdx = port, .rsi = at, .rdi = at});
  }
  expect("alive", 1, 1);
}

// Control registers and XCR0 with wild values, each put back.
CASE(control_registers) {
  Random random(6);
  for (unsigned i = 0; i < 3000; i++) {
    const u64 v = random.wild();
    const u64 cr0 = cpu::cr0(), cr4 = cpu::cr4();
    switch (random.below(6)) {
      case 0: attempt([=] { cpu::set_cr4(v | CR4_PAE); }); break;
      case 1: attempt([=] { cpu::set_cr0(v | (u64{1} << 31) | 1); }); break;
      case 2: attempt([=] { cpu::set_dr7(v & 0xffffff00); }); break;
      case 3: attempt([=] { cpu::set_dr6(v); }); break;
      case 4: attempt([=] { cpu::set_cr8(v); }); break;
      default: run(k, CODE("xsetbv"), {.rax = v, .rcx = random.below(3), .rdx = random.wild()}); break;
    }
    attempt([=] { cpu::set_cr4(cr4); });
    attempt([=] { cpu::set_cr0(cr0); });
    for (int twice = 0; twice < 2; twice++) attempt([] { cpu::set_dr7(0x400); });  // GD faults once
  }
  expect("alive", 1, 1);
}
