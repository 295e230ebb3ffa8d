// Little-endian values in byte strings: what ACPI tables, ELF, the kernel's setup header and start_info are made of.
#pragma once

#include <concepts>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "arch/types.hpp"

namespace cloister::platform {

using Bytes = std::vector<u8>;

/// True if [offset, offset + bytes) lies within a string of `size` bytes; no sum can wrap.
constexpr bool within(u64 offset, u64 bytes, u64 size) { return offset <= size && bytes <= size - offset; }

/// Precondition: within(offset, sizeof(T), bytes.size()).
template <std::unsigned_integral T>
T load(std::span<const u8> bytes, u64 offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <std::unsigned_integral T>
void store(Bytes& bytes, u64 offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

void append(Bytes& bytes, std::span<const u8> more);
void append(Bytes& bytes, std::string_view text);

template <std::unsigned_integral T>
void append(Bytes& bytes, T value) {
  u8 raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  append(bytes, std::span<const u8>(raw));
}

constexpr u64 align_up(u64 value, u64 alignment) { return (value + alignment - 1) / alignment * alignment; }

}  // namespace cloister::platform
