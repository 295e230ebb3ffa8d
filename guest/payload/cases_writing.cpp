// A domain that writes its disk (virtio 1.2, 5.2) without end, in an order that tells what must be on it: number N,
// which says so in all of its words, to sector N modulo 2048; a flush after each eight. Prints READY, then obeys keys,
// each of which it prints as <KEY> first:
//
//   n   prints FLUSHED and how many numbers, in hexadecimal, are safe
//   v   reads all sectors, and prints GOOD, or WRONG and the first one that has not its number
#include "resident.hpp"

namespace {

constexpr u64 config_at = 0xe000'8000, bar_at = 0xd000'0000, window_bytes = u64{2} << 20;
constexpr u64 common = bar_at, notify = bar_at + 0x3000;
constexpr u16 queue_size = 8;
constexpr u32 feature_flush = 1u << 9, feature_version_1 = 1;
constexpr u32 type_in = 0, type_out = 1, type_flush = 4;
constexpr u64 sectors = 2048, batch = 8;
constexpr unsigned words = 512 / 8;

struct Descriptor {
  u64 address;
  u32 bytes;
  u16 flags, next;
};
constexpr u16 has_next = 1, device_writes = 2;

struct alignas(4096) Ring {
  Descriptor descriptors[queue_size];
  alignas(1024) volatile u16 available[3 + queue_size];
  alignas(1024) struct {
    volatile u16 flags, index;
    struct {
      volatile u32 id, bytes;
    } elements[queue_size];
  } used;
};
Ring ring;
struct {
  u32 type, reserved;
  u64 sector;
} header;
alignas(512) u64 data[words];
volatile u8 status;
u64 written, flushed;

u64 address_of(const volatile void* object) { return reinterpret_cast<u64>(object); }

template <class T>
void set(u64 offset, T value) {
  at<volatile T>(common + offset) = value;
}

/// False: there is no such disk.
bool start() {
  for (const u64 window : {config_at & ~(window_bytes - 1), bar_at}) map(window, window, pte::p | pte::w | pte::ps, 2);
  if (at<volatile u32>(config_at) != 0x1042'1af4) return false;
  at<volatile u32>(config_at + 0x20) = bar_at;
  at<volatile u32>(config_at + 0x24) = 0;
  at<volatile u16>(config_at + 4) = 6;  // memory, bus master
  set<u8>(0x14, 0);
  set<u8>(0x14, 3);
  set<u32>(0x08, 0);
  set<u32>(0x0c, feature_flush);
  set<u32>(0x08, 1);
  set<u32>(0x0c, feature_version_1);
  set<u8>(0x14, 11);
  if ((at<volatile u8>(common + 0x14) & 8) == 0) return false;
  set<u16>(0x16, 0);
  set<u16>(0x18, queue_size);
  set<u64>(0x20, address_of(ring.descriptors));
  set<u64>(0x28, address_of(ring.available));
  set<u64>(0x30, address_of(&ring.used));
  set<u16>(0x1c, 1);
  set<u8>(0x14, 15);
  return true;
}

void ask(u32 type, u64 sector) {
  header = {type, 0, sector};
  status = 0xff;
  u16 last = 0;
  ring.descriptors[0] = {address_of(&header), sizeof header, has_next, 1};
  if (type != type_flush) {
    ring.descriptors[1] = {address_of(data), sizeof data,
                           static_cast<u16>(has_next | (type == type_in ? device_writes : 0)), 2};
    last = 1;
  }
  ring.descriptors[last + 1] = {address_of(&status), 1, device_writes, 0};
  const u16 index = ring.available[1], done = ring.used.index;
  ring.available[2 + index % queue_size] = 0;
  asm volatile("" ::: "memory");
  ring.available[1] = static_cast<u16>(index + 1);
  at<volatile u16>(notify) = 0;
  while (ring.used.index == done) asm volatile("pause" ::: "memory");
  if (status != 0) print("the disk has failed\n");
}

void write_batch() {
  for (u64 i = 0; i < batch; i++) {
    ++written;
    for (u64& word : data) word = written;
    ask(type_out, written % sectors);
  }
  ask(type_flush, 0);
  flushed = written;
}

void print_number(const char* word, u64 number) {
  print(word);
  for (int shift = 60; shift >= 0; shift -= 4) {
    const char text[] = {"0123456789abcdef"[number >> shift & 15], 0};
    print(text);
  }
  print("\n");
}

void look() {
  for (u64 sector = 0; sector < sectors; sector++) {
    ask(type_in, sector);
    const u64 newest = written < sector ? 0 : written - (written - sector) % sectors;
    for (const u64 word : data) {
      if (word != newest) return print_number("WRONG ", sector);
    }
  }
  print("GOOD\n");
}

void obey(u8 key) {
  const char echo[] = {'<', static_cast<char>(key), '>', '\n', 0};
  print(echo);
  if (key == 'n') print_number("FLUSHED ", flushed);
  if (key == 'v') look();
}

}  // namespace

CASE(writing) {
  resident::prepare();
  print(start() ? "READY\n" : "there is no disk\n");
  for (;;) {
    write_batch();
    while (cpu::in8(0x3fd) & 1) obey(cpu::in8(0x3f8));
    resident::sleep();
  }
}
