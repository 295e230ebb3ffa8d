#include "interop/vm/sizes.hpp"

#include <algorithm>
#include <charconv>
#include <string>

namespace cloister::toolstack::vm {

namespace {

constexpr u64 binary = 1 << 10, decimal = 1000;

}  // namespace

/// libvirt's virScaleInteger (src/util/virutil.c): any case; "k" and "KiB" are binary, "KB" is decimal.
std::optional<u64> bytes_of_unit(std::string_view unit) {
  std::string small(unit);
  std::ranges::transform(small, small.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  if (small == "b" || small == "byte" || small == "bytes") return 1;
  const std::size_t exponent = small.empty() ? small.npos : std::string_view("kmgtpe").find(small.front());
  const std::string_view rest = std::string_view(small).substr(small.empty() ? 0 : 1);
  if (exponent == small.npos || (!rest.empty() && rest != "ib" && rest != "b")) return std::nullopt;
  u64 power = 1;
  for (std::size_t i = 0; i <= exponent; ++i) power *= rest == "b" ? decimal : binary;
  return power;
}

std::optional<u64> in_kib(u64 count, u64 unit) {
  if (count > most_kib * binary / unit) return std::nullopt;
  return (count * unit + binary - 1) / binary;
}

u64 as_libvirt_gives(u64 kib) {
  constexpr u64 alignment_kib = 2048;
  return (kib + alignment_kib - 1) / alignment_kib * alignment_kib;
}

std::optional<u64> read_whole(std::string_view text, u64 most) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != text.npos) return std::nullopt;
  u64 value = 0;
  for (const char c : text) value = value * 10 + static_cast<u64>(c - '0');
  return value <= most ? std::optional(value) : std::nullopt;
}

std::optional<u64> read_qemu_size(std::string_view text, u64 plain) {
  u64 count = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc()) return std::nullopt;
  std::string_view rest = text.substr(static_cast<std::size_t>(stop - text.data()));
  double fraction = 0;
  if (rest.starts_with('.')) {
    const std::size_t end = std::min(rest.find_first_not_of("0123456789", 1), rest.size());
    double digit = 0.1;
    for (const char c : rest.substr(1, end - 1)) {
      fraction += (c - '0') * digit;
      digit /= 10;
    }
    rest.remove_prefix(end);
  }
  u64 unit = plain;
  if (!rest.empty()) {
    constexpr std::string_view lower = "bkmgtpe", upper = "BKMGTPE";
    const std::size_t at = std::min(lower.find(rest.front()), upper.find(rest.front()));
    if (rest.size() != 1 || at == lower.npos) return std::nullopt;
    unit = u64{1} << (10 * at);
  }
  const auto whole = in_kib(count, unit);
  if (!whole || fraction == 0) return whole;
  // Neither has QEMU fractions of a byte.
  if (unit == 1) return std::nullopt;
  return in_kib(count * unit + static_cast<u64>(fraction * static_cast<double>(unit)), 1);
}

}  // namespace cloister::toolstack::vm
