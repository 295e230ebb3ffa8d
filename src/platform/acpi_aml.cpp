// Opcodes are those of ACPI 6.4, table 20.2 and section 20.2; descriptor layouts are those of section 6.4.
#include "platform/acpi_aml.hpp"

#include <bit>

namespace cloister::platform::aml {
namespace {

constexpr u8 zero_op = 0x00, one_op = 0x01, name_op = 0x08, byte_prefix = 0x0a, word_prefix = 0x0b, dword_prefix = 0x0c;
constexpr u8 qword_prefix = 0x0e, scope_op = 0x10, buffer_op = 0x11, package_op = 0x12, ext_op_prefix = 0x5b;
constexpr u8 string_prefix = 0x0d, device_op = 0x82;

Bytes bytes_of(std::initializer_list<u8> bytes) { return bytes; }

// PkgLength (20.2.4): one byte to 63, else a lead byte with the low nibble and up to three more bytes. It counts
// itself.
Bytes with_length(const Bytes& body) {
  constexpr u64 one_byte_limit = 63;
  Bytes result;
  if (body.size() + 1 <= one_byte_limit) {
    append(result, static_cast<u8>(body.size() + 1));
  } else {
    u64 extra = 1;
    while ((body.size() + 1 + extra) >> (4 + 8 * extra)) ++extra;
    const u64 length = body.size() + 1 + extra;
    append(result, static_cast<u8>(extra << 6 | (length & 0xf)));
    for (u64 i = 0; i < extra; ++i) append(result, static_cast<u8>(length >> (4 + 8 * i)));
  }
  append(result, body);
  return result;
}

// A large resource descriptor (6.4.3): its tag and the length of what follows.
Bytes large_descriptor(u8 tag, const Bytes& body) {
  Bytes result = bytes_of({tag});
  append(result, static_cast<u16>(body.size()));
  append(result, body);
  return result;
}

// 6.4.3.5: both ends are fixed, and what the descriptor names is passed on (a producer, by bit 0).
template <std::unsigned_integral T>
Bytes window(u8 tag, u8 type, u8 type_flags, T first, T last) {
  constexpr u8 min_fixed = 1 << 2, max_fixed = 1 << 3;
  Bytes body = bytes_of({type, min_fixed | max_fixed, type_flags});
  for (T field : {T{0} /* granularity */, first, last, T{0} /* translation */, static_cast<T>(last - first + 1)})
    append(body, field);
  return large_descriptor(tag, body);
}

}  // namespace

Bytes join(std::initializer_list<Bytes> terms) {
  Bytes result;
  for (const Bytes& term : terms) append(result, term);
  return result;
}

Bytes name(std::string_view text) {
  Bytes result;
  if (text.starts_with('\\')) {
    append(result, text.substr(0, 1));
    text.remove_prefix(1);
  }
  append(result, text);
  for (std::size_t i = text.size(); i < 4; ++i) append(result, u8{'_'});
  return result;
}

Bytes integer(u64 value) {
  Bytes result;
  if (value == 0 || value == 1) {
    append(result, value ? one_op : zero_op);
  } else if (value <= 0xff) {
    append(result, byte_prefix);
    append(result, static_cast<u8>(value));
  } else if (value <= 0xffff) {
    append(result, word_prefix);
    append(result, static_cast<u16>(value));
  } else if (value <= 0xffff'ffff) {
    append(result, dword_prefix);
    append(result, static_cast<u32>(value));
  } else {
    append(result, qword_prefix);
    append(result, value);
  }
  return result;
}

Bytes buffer(std::span<const u8> bytes) {
  Bytes body = integer(bytes.size());
  append(body, bytes);
  return join({bytes_of({buffer_op}), with_length(body)});
}

Bytes unicode(std::string_view ascii) {
  Bytes text;
  for (char c : ascii) append(text, static_cast<u16>(c));
  append<u16>(text, 0);
  return buffer(text);
}

Bytes package(std::initializer_list<Bytes> elements) { return package(std::span(elements.begin(), elements.size())); }

Bytes package(std::span<const Bytes> elements) {
  Bytes body = bytes_of({static_cast<u8>(elements.size())});
  for (const Bytes& element : elements) append(body, element);
  return join({bytes_of({package_op}), with_length(body)});
}

Bytes eisa_id(std::string_view id) {
  auto letter = [&](std::size_t i) { return static_cast<u32>(id[i] - '@') & 0x1f; };
  auto digit = [&](std::size_t i) { return static_cast<u32>(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10); };
  const u32 big_endian =
      letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | digit(3) << 12 | digit(4) << 8 | digit(5) << 4 | digit(6);
  return integer(__builtin_bswap32(big_endian));
}

Bytes string(std::string_view ascii) {
  Bytes result = bytes_of({string_prefix});
  append(result, ascii);
  append(result, u8{0});
  return result;
}

Bytes define(std::string_view object, const Bytes& value) { return join({bytes_of({name_op}), name(object), value}); }

Bytes device(std::string_view object, const Bytes& body) {
  return join({bytes_of({ext_op_prefix, device_op}), with_length(join({name(object), body}))});
}

Bytes scope(std::string_view path, const Bytes& body) {
  return join({bytes_of({scope_op}), with_length(join({name(path), body}))});
}

Bytes io_ports(u16 base, u8 count) {  // 6.4.2.5
  constexpr u8 tag = 0x47, decodes_16_bits = 1, alignment = 1;
  Bytes result = bytes_of({tag, decodes_16_bits});
  append(result, base);
  append(result, base);
  append(result, join({bytes_of({alignment, count})}));
  return result;
}

Bytes edge_interrupt(u32 gsi) {  // 6.4.3.6
  constexpr u8 tag = 0x89, consumer = 1 << 0, edge = 1 << 1, one_interrupt = 1;
  Bytes body = bytes_of({consumer | edge, one_interrupt});
  append(body, gsi);
  return large_descriptor(tag, body);
}

Bytes memory_range(u64 base, u64 length) {  // 6.4.3.5.1
  constexpr u8 tag = 0x8a, type_memory = 0, consumer = 1 << 0, min_fixed = 1 << 2, max_fixed = 1 << 3;
  constexpr u8 read_write = 1 << 0, cacheable = 1 << 1;
  Bytes body = bytes_of({type_memory, consumer | min_fixed | max_fixed, read_write | cacheable});
  for (u64 field : {u64{0} /* granularity */, base, base + length - 1, u64{0} /* translation */, length})
    append(body, field);
  return large_descriptor(tag, body);
}

Bytes bus_numbers(u16 first, u16 last) {
  constexpr u8 word_tag = 0x88, type_bus_numbers = 2;
  return window(word_tag, type_bus_numbers, 0, first, last);
}

Bytes memory_window(u64 base, u64 length, Width width) {
  constexpr u8 dword_tag = 0x87, qword_tag = 0x8a, type_memory = 0, read_write = 1 << 0, prefetchable = 3 << 1;
  const u64 last = base + length - 1;
  if (width == Width::dword)
    return window(dword_tag, type_memory, read_write, static_cast<u32>(base), static_cast<u32>(last));
  return window(qword_tag, type_memory, read_write | prefetchable, base, last);
}

Bytes resources(const Bytes& descriptors) {
  constexpr u8 end_tag = 0x79, no_checksum = 0;  // 6.4.2.9
  return buffer(join({descriptors, bytes_of({end_tag, no_checksum})}));
}

}  // namespace cloister::platform::aml
