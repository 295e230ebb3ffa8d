// The notations of the manual (SDM vol. 1, 1.3.6), shorter ones, and QEMU's in its warnings, where a flag's name stands
// behind the register (target/i386/cpu.c, feature_word_description).
#include "policy/cpuid_bit.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "policy/flags.hpp"

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

/// "12h.1", or "(eax=12h,ecx=1)" in brackets of either kind; without a sub-leaf it is 0.
std::optional<std::pair<u32, u32>> read_leaf(std::string_view place) {
  std::string_view inputs[2] = {place.substr(0, place.find('.')), "0"};
  if (inputs[0].size() < place.size()) inputs[1] = place.substr(inputs[0].size() + 1);
  if (place.starts_with('(') || place.starts_with('[')) {
    if (!place.ends_with(place.front() == '(' ? ')' : ']')) return std::nullopt;
    constexpr std::string_view eax = "eax=", ecx = ",ecx=";
    const std::string_view inside = place.substr(1, place.size() - 2);
    if (!inside.starts_with(eax)) return std::nullopt;
    const std::size_t second = std::min(inside.find(ecx), inside.size());
    inputs[0] = inside.substr(eax.size(), second - eax.size());
    inputs[1] = second == inside.size() ? "0" : inside.substr(second + ecx.size());
  }
  const auto leaf = read_number(inputs[0]), subleaf = read_number(inputs[1]);
  return leaf && subleaf ? std::optional(std::pair(*leaf, *subleaf)) : std::nullopt;
}

std::optional<CpuidBit> read(std::string_view text) {
  if (text.starts_with("cpuid")) text.remove_prefix(text.substr(5).starts_with('.') ? 6 : 5);
  const std::size_t open = text.rfind('[');
  if (open == text.npos || !text.ends_with(']')) return std::nullopt;
  std::string_view number = text.substr(open + 1, text.size() - open - 2);
  if (number.starts_with("bit")) number.remove_prefix(3);
  const auto bit = read_number(number);
  // The register, and behind it a name if there is one, which may have a dot: "sse4.1".
  std::string_view place = text.substr(0, open), name;
  std::optional<CpuidReg> reg;
  for (std::size_t end = place.size(); !reg;) {
    const std::size_t at = place.substr(0, end).find_last_of(".:");
    if (at == place.npos) return std::nullopt;
    reg = read_register(place.substr(at + 1, end - at - 1));
    if (reg && end < place.size()) name = place.substr(end + 1);
    end = at;
    if (reg) place = place.substr(0, at);
  }
  const auto leaf = read_leaf(place);
  if (!leaf || !reg || !bit || *bit > 31) return std::nullopt;
  const CpuidBit found{leaf->first, leaf->second, *reg, static_cast<u8>(*bit)};
  // QEMU says no sub-leaf up to version 8, and which it is by the name alone.
  const Feature* const named = name.empty() ? nullptr : find_spelling(name, Tool::qemu);
  if (named == nullptr) return found;
  const CpuidBit other = *named;
  const bool same = other.leaf == found.leaf && other.reg == found.reg && other.bit == found.bit;
  return same && place.find_first_of(".,") == place.npos ? other : found;
}

}  // namespace

bool looks_like_bit(std::string_view text) {
  if (text.find_first_of("[]") != text.npos) return true;
  return !text.empty() && text.front() >= '0' && text.front() <= '9' && text.find('.') != text.npos;
}

tl::expected<CpuidBit, std::string> read_bit(std::string_view text) {
  std::string plain = lower_case(text);
  std::erase_if(plain, [](char c) { return c == ' ' || c == '\t'; });
  if (const auto bit = read(plain)) return *bit;
  return tl::unexpected(
      std::string("expected a bit such as 7.0.ebx[2] or 0x12.1.eax[4]: leaf, sub-leaf, register, and a bit up to 31"));
}

}  // namespace cloister::policy
