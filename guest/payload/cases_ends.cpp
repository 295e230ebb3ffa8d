// A domain that ends, or does not, as somebody types: for tests of the toolstack. Prints READY, then obeys keys, each
// of which it prints as <KEY> first.
//
//   d   prints what the clock chip shows          s   sets it to 1999-12-31 12:00:00
//   b   powers off at the next press of the power button, for which it prints BUTTON in any case
//   h   halts for good                             p   says by pvpanic that it panicked
//   k   says that it panicked and goes on          o   powers off         r   resets
#include "resident.hpp"

namespace {

constexpr u8 button_vector = 0x41;
constexpr u64 ioapic = 0xfec0'0000;
constexpr u32 button_pin = 10;
constexpr u16 pvpanic = 0x505, reset = 0x602;

bool obeys;

u8 clock(u8 index) {
  cpu::out8(0x70, index);
  return cpu::in8(0x71);
}

void set_clock(u8 index, u8 value) {
  cpu::out8(0x70, index);
  cpu::out8(0x71, value);
}

void print_clock() {
  constexpr u8 registers[] = {0x32, 9, 8, 7, 4, 2, 0};
  while (clock(10) & 0x80) {
  }
  print("CLOCK");
  for (const u8 index : registers) {
    const u8 value = clock(index);
    const char text[] = {' ', static_cast<char>('0' + (value >> 4)), static_cast<char>('0' + (value & 15)), 0};
    print(text);
  }
  print("\n");
}

void set_to_1999() {
  constexpr u8 values[][2] = {{0x32, 0x19}, {9, 0x99}, {8, 0x12}, {7, 0x31}, {4, 0x12}, {2, 0}, {0, 0}};
  const u8 control = clock(11);
  set_clock(11, control | 0x80);
  for (const auto& [index, value] : values) set_clock(index, value);
  set_clock(11, control);
  print("SET\n");
}

void obey(u8 key) {
  const char echo[] = {'<', static_cast<char>(key), '>', '\n', 0};
  print(echo);
  switch (key) {
    case 'd': return print_clock();
    case 's': return set_to_1999();
    case 'b': obeys = true; return print("LISTENS\n");
    case 'h':
      print("HALTS\n");
      while (true) asm volatile("cli; hlt");
    case 'p': return cpu::out8(pvpanic, 1);
    case 'k': cpu::out8(pvpanic, 2); return print("GOES ON\n");
    case 'o': power_off();
    case 'r': return cpu::out8(reset, 1);
    default: return;
  }
}

}  // namespace

CASE(ends) {
  resident::prepare();
  set_hook(button_vector, [](Frame&) {
    resident::write_apic(0xb0, 0);
    print("BUTTON\n");
    if (obeys) power_off();
    return true;
  });
  at<volatile u32>(ioapic) = 0x10 + 2 * button_pin;
  at<volatile u32>(ioapic + 0x10) = button_vector;  // edge, fixed, to processor 0
  expect("pvpanic understands both", cpu::in8(pvpanic), 3);
  print("READY\n");
  while (true) {
    while (cpu::in8(0x3fd) & 1) obey(cpu::in8(0x3f8));
    resident::sleep();
  }
}
