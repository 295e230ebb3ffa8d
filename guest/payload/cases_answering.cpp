// A domain that stays until somebody ends it, and answers each datagram that its network interface hears with the same
// to whoever sent it, for tests of what is between. It leaves checksums to the interface in both directions
// (virtio 1.2, 5.1.6): what it hears without a right one it sends without one. Prints READY when it listens.
#include "resident.hpp"

namespace {

constexpr u64 config_at = 0xe000'8000, bar_at = 0xd000'0000, window_bytes = u64{2} << 20;
constexpr u64 common = bar_at, notify = bar_at + 0x3000;
constexpr u16 queue_size = 8;
constexpr u32 buffer_bytes = 2048, header_bytes = 12;
constexpr u32 feature_checksum = 1, feature_guest_checksum = 2, feature_version_1 = 1;

struct Descriptor {
  u64 address;
  u32 bytes;
  u16 flags, next;
};
constexpr u16 device_writes = 2;

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
Ring in, out;
alignas(4096) u8 buffers[queue_size][buffer_bytes];

u64 address_of(const volatile void* object) { return reinterpret_cast<u64>(object); }

template <class T>
void set(u64 offset, T value) {
  at<volatile T>(common + offset) = value;
}

void begin(u16 number, Ring& ring) {
  set<u16>(0x16, number);
  set<u16>(0x18, queue_size);
  set<u64>(0x20, address_of(ring.descriptors));
  set<u64>(0x28, address_of(ring.available));
  set<u64>(0x30, address_of(&ring.used));
  set<u16>(0x1c, 1);
}

void offer(u16 number, Ring& ring, u16 descriptor) {
  const u16 index = ring.available[1];
  ring.available[2 + index % queue_size] = descriptor;
  asm volatile("" ::: "memory");
  ring.available[1] = static_cast<u16>(index + 1);
  at<volatile u16>(notify + 4 * number) = number;
}

/// False: there is no such interface, or it does not take checksums.
bool start() {
  for (const u64 window : {config_at & ~(window_bytes - 1), bar_at}) map(window, window, pte::p | pte::w | pte::ps, 2);
  if (at<volatile u32>(config_at) != 0x1041'1af4) return false;
  at<volatile u32>(config_at + 0x20) = bar_at;
  at<volatile u32>(config_at + 0x24) = 0;
  at<volatile u16>(config_at + 4) = 6;  // memory, bus master
  set<u8>(0x14, 0);
  set<u8>(0x14, 3);
  set<u32>(0x00, 0);
  constexpr u32 checksums = feature_checksum | feature_guest_checksum;
  const u32 wanted = at<volatile u32>(common + 4) & checksums;
  set<u32>(0x08, 0);
  set<u32>(0x0c, wanted);
  set<u32>(0x08, 1);
  set<u32>(0x0c, feature_version_1);
  set<u8>(0x14, 11);
  if (wanted != checksums || (at<volatile u8>(common + 0x14) & 8) == 0) return false;
  begin(0, in);
  begin(1, out);
  set<u8>(0x14, 15);
  for (u16 i = 0; i < queue_size; i++) {
    in.descriptors[i] = {address_of(buffers[i]), buffer_bytes, device_writes, 0};
    offer(0, in, i);
  }
  return true;
}

void swap(u8* one, u8* other, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) {
    const u8 kept = one[i];
    one[i] = other[i];
    other[i] = kept;
  }
}

/// A datagram of UDP over IPv4 without options, to the sender; the checksums are those of before.
bool turn_round(u8* frame, u32 bytes) {
  constexpr unsigned ip = 14, udp = ip + 20;
  if (bytes < udp + 8 || frame[12] != 8 || frame[13] != 0 || frame[ip] != 0x45 || frame[ip + 9] != 17) return false;
  swap(frame, frame + 6, 6);
  swap(frame + ip + 12, frame + ip + 16, 4);
  swap(frame + udp, frame + udp + 2, 2);
  return true;
}

void answer() {
  static u16 heard = 0;
  while (in.used.index != heard) {
    const auto& element = in.used.elements[heard++ % queue_size];
    const u16 number = static_cast<u16>(element.id);
    const u32 bytes = element.bytes;
    if (turn_round(buffers[number] + header_bytes, bytes - header_bytes)) {
      out.descriptors[0] = {address_of(buffers[number]), bytes, 0, 0};
      const u16 sent = out.used.index;
      offer(1, out, 0);
      while (out.used.index == sent) asm volatile("pause");
    }
    offer(0, in, number);
  }
}

}  // namespace

CASE(answering) {
  resident::prepare();
  print(start() ? "READY\n" : "there is no interface that takes checksums\n");
  for (;;) {
    answer();
    resident::echo();
    resident::sleep();
  }
}
