// What a saved domain's stream is made of (docs/stream.md): a header, then records, of which the last one says that it
// is the last. Each record's checksum goes on from the one before, so that a stream that was cut, altered or put
// together of several ones is found out.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "arch/types.hpp"

namespace cloister::stream {

/// What a record is about. Numbers are never used again.
enum class Kind : u32 {
  end = 0,
  domain = 1,   ///< what it was made of
  time = 2,     ///< its processors' clock
  machine = 3,  ///< what belongs to no device
  ioapic = 4,
  uart = 5,
  power = 6,
  rtc = 7,
  processor = 8,  ///< one for each, in their order
  apic = 9,       ///< likewise
  epc = 10,       ///< what of it the guest has given back
  ram = 11,       ///< pages in a row that are not all zeros
  pci = 12,       ///< the host bridge, where there is a bus
  disk = 13,      ///< one for each, in their order
  config = 14,    ///< of whose domain it is, and its configuration's text; the daemon's
  // Of a domain whose enclaves go with it:
  epc_map = 15,          ///< pages of EPC that are out, and where their versions are
  epc_page = 16,         ///< what EWB has left of one
  va_page = 17,          ///< the same of a version array
  root = 18,             ///< the version array that has all versions, sealed for the session
  config_alive = 19,     ///< in place of `config`: its enclaves are in the stream
  interface = 20,        ///< of the network, one for each, in their order
  rng = 21,              ///< the source of random bytes, where there is one
  vsock = 22,            ///< sockets to the host, where there are such
  config_snapshot = 23,  ///< in place of `config`: the domain went on
  avx = 24,              ///< of each processor behind its `processor`, where the domain has AVX
  console = 25,          ///< the virtio console, where there is one
  pairs = 26,            ///< of each interface behind its `interface`, where it has several queues in each direction
  // Of a domain that moves while it runs:
  still = 32,         ///< from here on its guest stands still
  all_but_root = 33,  ///< of its enclaves the root alone is missing, which leaves only once the domain is held
};

/// A record of which the reader knows nothing may be passed over if its type has this bit.
inline constexpr u32 optional_bit = u32{1} << 31;

struct KindRow {
  Kind kind;
  std::string_view name;
  u32 version;     ///< of its body
  u32 most_bytes;  ///< of its body
};
/// Of one that is passed over.
inline constexpr u32 most_optional_bytes = 1 << 20;
inline constexpr u32 most_ram_pages = 64, page_bytes = 4096;
inline constexpr std::array<KindRow, 29> kinds{{
    {Kind::end, "end", 1, 0},
    {Kind::domain, "domain", 1, 1 << 20},
    {Kind::time, "time", 1, 64},
    {Kind::machine, "machine", 1, 64},
    {Kind::ioapic, "ioapic", 1, 1 << 10},
    {Kind::uart, "uart", 1, 1 << 16},
    {Kind::power, "power", 1, 64},
    {Kind::rtc, "rtc", 1, 1 << 10},
    {Kind::processor, "processor", 1, 1 << 16},
    {Kind::apic, "apic", 1, 1 << 10},
    {Kind::epc, "epc", 1, 1 << 24},
    {Kind::ram, "ram", 1, 8 + most_ram_pages* page_bytes},
    {Kind::pci, "pci", 1, 1 << 10},
    {Kind::disk, "disk", 1, 1 << 16},
    {Kind::config, "config", 1, (1 << 20) + (1 << 14)},
    {Kind::epc_map, "epc-map", 1, 1 << 20},
    {Kind::epc_page, "epc-page", 1, 1 << 13},
    {Kind::va_page, "va-page", 1, 1 << 13},
    {Kind::root, "root", 1, 1 << 13},
    {Kind::config_alive, "config-alive", 1, (1 << 20) + (1 << 14)},
    {Kind::interface, "interface", 1, 1 << 16},
    {Kind::rng, "rng", 1, 1 << 16},
    {Kind::vsock, "vsock", 1, 1 << 16},
    {Kind::config_snapshot, "config-snapshot", 1, (1 << 20) + (1 << 14)},
    {Kind::avx, "avx", 1, 256},
    {Kind::console, "console", 1, 1 << 16},
    {Kind::pairs, "pairs", 1, 64},
    {Kind::still, "still", 1, 0},
    {Kind::all_but_root, "all-but-root", 1, 0},
}};
constexpr const KindRow* row_of(u32 type) {
  for (const KindRow& row : kinds) {
    if (static_cast<u32>(row.kind) == type) return &row;
  }
  return nullptr;
}
constexpr const KindRow& row_of(Kind kind) { return *row_of(static_cast<u32>(kind)); }

inline constexpr std::array<u8, 8> magic{'C', 'L', 'S', 'T', 'R', 'E', 'A', 'M'};
/// A reader takes its own major version and any minor one: those add optional records.
inline constexpr u16 major_version = 1, minor_version = 0;

/// All numbers are little-endian.
struct Header {
  std::array<u8, 8> magic{};
  u16 major = 0, minor = 0;
  u32 reserved = 0;
};
/// In front of a body, which is padded with zeros to a multiple of 8 bytes.
struct RecordHead {
  u32 type = 0;
  u32 version = 0;
  u32 bytes = 0;  ///< of the body
  u32 check = 0;  ///< CRC-32 of header, numbers and bodies with their padding so far
};
inline constexpr std::size_t header_bytes = 16, head_bytes = 16;

template <class T>
using Result = tl::expected<T, std::string>;

/// Takes all the bytes, or says why not.
using Sink = std::function<Result<void>(std::span<const u8>)>;
/// Fills a part of the span, at least a byte; 0: there are no more.
using Source = std::function<Result<std::size_t>(std::span<u8>)>;

}  // namespace cloister::stream
