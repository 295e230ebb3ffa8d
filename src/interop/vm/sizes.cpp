#include "interop/vm/sizes.hpp"

#include <algorithm>
#include <charconv>

namespace cloister::toolstack::vm {

namespace {

struct Unit {
  std::string_view word;
  u64 bytes;
};
constexpr u64 binary = 1 << 10, decimal = 1000;
/// A unit's bytes: a power of one of the two.
constexpr u64 power(u64 base, int exponent) { return exponent == 0 ? 1 : base * power(base, exponent - 1); }
constexpr Unit units[] = {{"b", 1},
                          {"bytes", 1},
                          {"KB", power(decimal, 1)},
                          {"k", power(binary, 1)},
                          {"KiB", power(binary, 1)},
                          {"MB", power(decimal, 2)},
                          {"M", power(binary, 2)},
                          {"MiB", power(binary, 2)},
                          {"GB", power(decimal, 3)},
                          {"G", power(binary, 3)},
                          {"GiB", power(binary, 3)},
                          {"TB", power(decimal, 4)},
                          {"T", power(binary, 4)},
                          {"TiB", power(binary, 4)}};

}  // namespace

std::optional<u64> bytes_of_unit(std::string_view unit) {
  const auto* const found = std::ranges::find(units, unit, &Unit::word);
  return found == std::end(units) ? std::nullopt : std::optional(found->bytes);
}

std::optional<u64> in_kib(u64 count, u64 unit) {
  if (count > most_kib * binary / unit) return std::nullopt;
  return (count * unit + binary - 1) / binary;
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
  const std::string_view rest = text.substr(static_cast<std::size_t>(stop - text.data()));
  u64 unit = plain;
  if (!rest.empty()) {
    constexpr std::string_view lower = "bkmgt", upper = "BKMGT";
    const std::size_t at = std::min(lower.find(rest.front()), upper.find(rest.front()));
    if (rest.size() != 1 || at == lower.npos) return std::nullopt;
    unit = u64{1} << (10 * at);
  }
  return in_kib(count, unit);
}

}  // namespace cloister::toolstack::vm
