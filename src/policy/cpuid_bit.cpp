// The notation of the manual (SDM vol. 1, 1.3.6), and shorter ones.
#include "policy/cpuid_bit.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace cloister::policy {

namespace {

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return lower;
}

std::optional<u32> read_number(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) {
    text.remove_prefix(2);
    base = 16;
  } else if (text.ends_with('h')) {
    text.remove_suffix(1);
    base = 16;
  }
  u32 value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<CpuidReg> read_register(std::string_view text) {
  constexpr std::string_view names[] = {"eax", "ebx", "ecx", "edx"};
  const auto* const found = std::ranges::find(names, text);
  if (found == std::end(names)) return std::nullopt;
  return static_cast<CpuidReg>(found - std::begin(names));
}

std::optional<CpuidBit> read(std::string_view text) {
  if (text.starts_with("cpuid.")) text.remove_prefix(6);
  const std::size_t open = text.find('[');
  if (open == text.npos || !text.ends_with(']')) return std::nullopt;
  const auto bit = read_number(text.substr(open + 1, text.size() - open - 2));
  std::string_view place = text.substr(0, open);
  const std::size_t last = place.find_last_of(".:");
  if (last == place.npos) return std::nullopt;
  const auto reg = read_register(place.substr(last + 1));
  place = place.substr(0, last);
  const std::size_t dot = std::min(place.find('.'), place.size());
  const auto leaf = read_number(place.substr(0, dot));
  const auto subleaf = dot == place.size() ? std::optional<u32>(0) : read_number(place.substr(dot + 1));
  if (!leaf || !subleaf || !reg || !bit || *bit > 31) return std::nullopt;
  return CpuidBit{*leaf, *subleaf, *reg, static_cast<u8>(*bit)};
}

}  // namespace

bool looks_like_bit(std::string_view text) {
  if (text.find_first_of("[]") != text.npos) return true;
  return !text.empty() && text.front() >= '0' && text.front() <= '9' && text.find('.') != text.npos;
}

tl::expected<CpuidBit, std::string> read_bit(std::string_view text) {
  if (const auto bit = read(lower_case(text))) return *bit;
  return tl::unexpected(
      std::string("expected a bit such as 7.0.ebx[2] or 0x12.1.eax[4]: leaf, sub-leaf, register, and a bit up to 31"));
}

}  // namespace cloister::policy
