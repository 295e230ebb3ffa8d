// A domain that ends, or does not, as somebody types: for tests of the toolstack. Prints READY, then obeys keys, each
// of which it prints as <KEY> first.
//
//   d   prints what the clock chip shows          s   sets it to 1999-12-31 12:00:00
//   b   powers off at the next press of the power button, for which it prints BUTTON in any case
//   h   halts for good                             p   says by pvpanic that it panicked
//   k   says that it panicked and goes on          o   powers off         r   resets
//   z   suspends itself to RAM, and prints READY anew when it is woken
//   f   writes to every page from 64 to 512 MiB, which must be there, and prints FILLED
//   c   prints what CPUID says of vectors: leaf 1 ECX, leaf 7 EBX and ECX, leaf 0DH.0 EAX and ECX, and leaf 12H.1 ECX
#include "resident.hpp"

extern "C" const u8 start32_again[];

namespace {

constexpr u8 button_vector = 0x41;
constexpr u64 ioapic = 0xfec0'0000;
constexpr u32 sci_pin = 9;
constexpr u16 pvpanic = 0x505, reset = 0x602, pm1_control = 0x604, pm1_status = 0x608, pm1_enable = 0x60a;
constexpr u16 power_button = 1u << 8, sleep_now = 1u << 13 | 1u << 10;  // S3
constexpr u64 facs_x_waking_vector = 0xef018;
constexpr u32 osxsave = 1u << 27;  // of CPUID.1 ECX: CR4's bit

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

void fill() {
  for (u64 page = u64{64} << 20; page < u64{512} << 20; page += 4096) at<volatile u64>(page) = page;
  print("FILLED\n");
}

void print_vectors() {
  const cpu::Cpuid features = cpu::cpuid(7), area = cpu::cpuid(0xd);
  print("CPUID");
  for (const u32 word :
       {cpu::cpuid(1).ecx & ~osxsave, features.ebx, features.ecx, area.eax, area.ecx, cpu::cpuid(0x12, 1).ecx}) {
    print(" ");
    print_hex(word);
  }
  print("\n");
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
    case 'z':
      at<volatile u64>(facs_x_waking_vector) = reinterpret_cast<u64>(start32_again);
      return cpu::out16(pm1_control, sleep_now);
    case 'r': return cpu::out8(reset, 1);
    case 'f': return fill();
    case 'c': return print_vectors();
    default: return;
  }
}

}  // namespace

CASE(ends) {
  resident::prepare();
  set_hook(button_vector, [](Frame&) {
    cpu::out16(pm1_status, power_button);
    resident::write_apic(0xb0, 0);
    print("BUTTON\n");
    if (obeys) power_off();
    return true;
  });
  at<volatile u32>(ioapic) = 0x10 + 2 * sci_pin;
  at<volatile u32>(ioapic + 0x10) = 0x8000u | button_vector;  // level, active high, fixed, to processor 0
  cpu::out16(pm1_status, power_button);  // of the press that has woken it, which is no other: as Linux does
  cpu::out16(pm1_enable, power_button);
  expect("pvpanic understands both", cpu::in8(pvpanic), 3);
  print("READY\n");
  while (true) {
    while (cpu::in8(0x3fd) & 1) obey(cpu::in8(0x3f8));
    resident::sleep();
  }
}
