// Packets of GDB's remote serial protocol ("Debugging with GDB", appendix E.1): framing, checksums, escapes,
// hexadecimal.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/types.hpp"

namespace cloister::hypervisor::gdb {

/// One thing that GDB sent.
struct Received {
  enum class Kind : u8 { packet, bad_checksum, interrupt, ack, nack } kind = Kind::packet;
  std::string payload;  ///< unescaped; of a packet
};

/// Cuts a byte stream into what it contains.
class PacketReader {
 public:
  void feed(std::string_view bytes) { buffer_ += bytes; }
  /// nullopt: more bytes are needed.
  std::optional<Received> next();

 private:
  std::string buffer_;
};

/// `$payload#checksum`, with the payload's special characters escaped.
std::string frame(std::string_view payload);

std::string to_hex(std::span<const u8> bytes);
/// nullopt: an odd number of digits, or not a digit.
std::optional<std::vector<u8>> from_hex(std::string_view digits);
/// Takes a hexadecimal number off the front of `text`; nullopt if there is none or it has more than 64 bits.
std::optional<u64> take_number(std::string_view& text);
/// Takes one character off the front if it is `c`.
bool take(std::string_view& text, char c);
bool take(std::string_view& text, std::string_view prefix);

}  // namespace cloister::hypervisor::gdb
