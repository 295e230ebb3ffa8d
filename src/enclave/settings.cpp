#include "enclave/settings.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace cloister::enclave {
namespace {

constexpr u64 largest_size = u64{1} << 36;

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") + 1 - first);
}

/// Decimal or 0x…, with K or M behind it.
std::optional<u64> number(std::string_view text) {
  u64 scale = 1, value = 0;
  if (text.ends_with('K')) scale = 1 << 10;
  if (text.ends_with('M')) scale = 1 << 20;
  if (scale != 1) text.remove_suffix(1);
  const bool hexadecimal = text.starts_with("0x");
  if (hexadecimal) text.remove_prefix(2);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != text.data() + text.size() || value > ~u64{0} / scale) return std::nullopt;
  return value * scale;
}

std::optional<bool> truth(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

using Setter = bool (*)(Settings&, std::string_view);

template <auto Member, u64 Most>
bool set_number(Settings& settings, std::string_view text) {
  const auto value = number(text);
  if (!value || *value > Most) return false;
  settings.*Member = static_cast<std::remove_reference_t<decltype(settings.*Member)>>(*value);
  return true;
}

template <u64 Bit>
bool set_attribute(Settings& settings, std::string_view text) {
  const auto on = truth(text);
  if (on) settings.attributes.flags = *on ? settings.attributes.flags | Bit : settings.attributes.flags & ~Bit;
  return on.has_value();
}

bool set_exinfo(Settings& settings, std::string_view text) {
  const auto on = truth(text);
  if (on) settings.miscselect = *on ? arch::miscselect::exinfo : 0;
  return on.has_value();
}

bool set_xfrm(Settings& settings, std::string_view text) {
  const auto value = number(text);
  if (!value || (*value & 3) != 3) return false;  // ECREATE demands x87 and SSE
  settings.attributes.xfrm = *value;
  return true;
}

/// Eight digits, kept as they are read: the field is binary-coded decimal.
bool set_date(Settings& settings, std::string_view text) {
  const bool digits = text.size() == 8 && text.find_first_not_of("0123456789") == text.npos;
  return digits && std::from_chars(text.data(), text.data() + 8, settings.date, 16).ec == std::errc();
}

template <arch::Bytes16 Settings::*Member>
bool set_bytes(Settings& settings, std::string_view text) {
  if (text.size() != 32 || text.find_first_not_of("0123456789abcdefABCDEF") != text.npos) return false;
  for (std::size_t i = 0; i < 16; i++) {
    std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, (settings.*Member)[i], 16);
  }
  return true;
}

struct Key {
  std::string_view name;
  std::string_view values;
  Setter setter;
};

constexpr std::string_view bytes = "bytes, K or M behind them", on_off = "true or false",
                           sixteen = "32 hexadecimal digits";
constexpr Key keys[] = {
    {"size", "of the address range, a power of two; 0: as much as is needed",
     set_number<&Settings::size, largest_size>},
    {"heap", bytes, set_number<&Settings::heap, largest_size>},
    {"dynamic", bytes, set_number<&Settings::dynamic, largest_size>},
    {"stack", bytes, set_number<&Settings::stack, largest_size>},
    {"threads", "1 to 1024", set_number<&Settings::threads, 1024>},
    {"ssa_frames", "1 to 64", set_number<&Settings::ssa_frames, 64>},
    {"ssa_frame_pages", "1 to 16", set_number<&Settings::ssa_frame_pages, 16>},
    {"debug", on_off, set_attribute<arch::attributes::debug>},
    {"provision_key", on_off, set_attribute<arch::attributes::provisionkey>},
    {"einittoken_key", on_off, set_attribute<arch::attributes::einittokenkey>},
    {"kss", on_off, set_attribute<arch::attributes::kss>},
    {"aexnotify", on_off, set_attribute<arch::attributes::aexnotify>},
    {"xfrm", "a mask with bits 0 and 1", set_xfrm},
    {"exinfo", on_off, set_exinfo},
    {"isvprodid", "0 to 65535", set_number<&Settings::isvprodid, 0xffff>},
    {"isvsvn", "0 to 65535", set_number<&Settings::isvsvn, 0xffff>},
    {"isvfamilyid", sixteen, set_bytes<&Settings::isvfamilyid>},
    {"isvextprodid", sixteen, set_bytes<&Settings::isvextprodid>},
    {"date", "yyyymmdd", set_date},
};

}  // namespace

Result<void> set(Settings& settings, std::string_view line) {
  const auto equals = line.find('=');
  if (equals == line.npos) return tl::unexpected(fmt::format("'{}' is not KEY = VALUE", line));
  const std::string_view name = trim(line.substr(0, equals)), value = trim(line.substr(equals + 1));
  for (const Key& key : keys) {
    if (key.name != name) continue;
    if (key.setter(settings, value)) return {};
    return tl::unexpected(fmt::format("{} = {}: expected {}", name, value, key.values));
  }
  return tl::unexpected(fmt::format("there is no setting '{}'", name));
}

Result<Settings> read_settings(std::string_view text) {
  Settings settings;
  for (u32 number = 1; !text.empty(); number++) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view words = trim(line.substr(0, line.find('#')));
    if (words.empty()) continue;
    if (auto done = set(settings, words); !done) {
      return tl::unexpected(fmt::format("line {}: {}", number, done.error()));
    }
  }
  return settings;
}

std::string problem_of(const Settings& settings) {
  if (settings.threads == 0) return "an enclave has at least one thread";
  if (settings.ssa_frames == 0 || settings.ssa_frame_pages == 0) return "a thread has at least one state save area";
  if (settings.stack == 0) return "a thread has a stack";
  const bool extended = settings.isvfamilyid != arch::Bytes16{} || settings.isvextprodid != arch::Bytes16{};
  if (extended && (settings.attributes.flags & arch::attributes::kss) == 0) {
    return "isvfamilyid and isvextprodid need kss = true";
  }
  return "";
}

std::string settings_help() {
  std::string text;
  for (const Key& key : keys) text += fmt::format("  {:<16} {}\n", key.name, key.values);
  return text;
}

}  // namespace cloister::enclave
