// The little of the ACPI Machine Language that the DSDT needs (ACPI 6.4, ch. 20) with its resource descriptors (6.4).
// Each function encodes one term; terms are byte strings that are joined.
#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <string_view>

#include "platform/bytes.hpp"

namespace cloister::platform::aml {

/// Terms one after the other.
Bytes join(std::initializer_list<Bytes> terms);

/// A name segment of up to four characters, padded with underscores; a leading backslash is the root.
Bytes name(std::string_view text);
Bytes integer(u64 value);
Bytes buffer(std::span<const u8> bytes);
/// A buffer with UTF-16LE text and its NUL: _STR's form (6.1.10).
Bytes unicode(std::string_view ascii);
Bytes package(std::span<const Bytes> elements);
Bytes package(std::initializer_list<Bytes> elements);
/// The compressed integer of an identifier such as "PNP0501": three letters and four hexadecimal digits (6.1.5).
Bytes eisa_id(std::string_view id);

Bytes string(std::string_view ascii);
Bytes define(std::string_view object, const Bytes& value);  ///< Name (object, value)
Bytes device(std::string_view object, const Bytes& body);
Bytes scope(std::string_view path, const Bytes& body);

/// Resource descriptors (6.4); resources() adds the end tag and makes _CRS's buffer of them.
Bytes io_ports(u16 base, u8 count);
Bytes edge_interrupt(u32 gsi);             ///< active high, exclusive
Bytes memory_range(u64 base, u64 length);  ///< fixed, read-write, cacheable; consumed by the device
/// What a bridge passes on: bus numbers, and memory, which is cacheable and prefetchable where it has 64 bits.
Bytes bus_numbers(u16 first, u16 last);
enum class Width : u8 { dword, qword };
Bytes memory_window(u64 base, u64 length, Width width);
Bytes resources(const Bytes& descriptors);

}  // namespace cloister::platform::aml
