// The escape character is '}', and the escaped byte is xored with 0x20; '#', '$', '}' and '*' need it in replies. The
// checksum is the sum of the bytes between '$' and '#', modulo 256.
#include "hypervisor/gdb/packet.hpp"

#include <charconv>

namespace cloister::hypervisor::gdb {
namespace {

constexpr char escape = '}', interrupt = 0x03;
constexpr char escape_bit = 0x20;
/// Longer than any packet that the stub asks for; a stream without an end is cut off here.
constexpr std::size_t longest_packet = 1 << 20;
constexpr char hex_digits[] = "0123456789abcdef";

int value_of(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

u8 sum_of(std::string_view text) {
  u8 sum = 0;
  for (const char c : text) sum = static_cast<u8>(sum + static_cast<u8>(c));
  return sum;
}

std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i)
    plain += text[i] == escape && i + 1 < text.size() ? static_cast<char>(text[++i] ^ escape_bit) : text[i];
  return plain;
}

}  // namespace

std::optional<Received> PacketReader::next() {
  using Kind = Received::Kind;
  while (!buffer_.empty()) {
    const char first = buffer_.front();
    if (first == '+' || first == '-' || first == interrupt) {
      buffer_.erase(0, 1);
      return Received{first == '+' ? Kind::ack : first == '-' ? Kind::nack : Kind::interrupt, {}};
    }
    if (first != '$') {
      buffer_.erase(0, 1);
      continue;
    }
    const std::size_t end = buffer_.find('#');
    if (end == std::string::npos || end + 2 >= buffer_.size()) {
      if (buffer_.size() > longest_packet) buffer_.clear();
      return std::nullopt;
    }
    const std::string_view body = std::string_view(buffer_).substr(1, end - 1);
    const int high = value_of(buffer_[end + 1]), low = value_of(buffer_[end + 2]);
    const bool good = high >= 0 && low >= 0 && sum_of(body) == high * 16 + low;
    Received received{good ? Kind::packet : Kind::bad_checksum, good ? unescape(body) : std::string()};
    buffer_.erase(0, end + 3);
    return received;
  }
  return std::nullopt;
}

std::string frame(std::string_view payload) {
  std::string body;
  for (const char c : payload) {
    if (c == '#' || c == '$' || c == '*' || c == escape) {
      body += escape;
      body += static_cast<char>(c ^ escape_bit);
    } else {
      body += c;
    }
  }
  const u8 sum = sum_of(body);
  return '$' + body + '#' + hex_digits[sum >> 4] + hex_digits[sum & 15];
}

std::string to_hex(std::span<const u8> bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const u8 byte : bytes) {
    text += hex_digits[byte >> 4];
    text += hex_digits[byte & 15];
  }
  return text;
}

std::optional<std::vector<u8>> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::vector<u8> bytes;
  bytes.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = value_of(text[i]), low = value_of(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    bytes.push_back(static_cast<u8>(high * 16 + low));
  }
  return bytes;
}

std::optional<u64> take_number(std::string_view& text) {
  u64 value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace cloister::hypervisor::gdb
