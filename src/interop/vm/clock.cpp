#include "interop/vm/clock.hpp"

#include <fmt/format.h>

#include <charconv>

#include "config/config.hpp"

namespace cloister::toolstack::vm {

std::string clock_in_words(const Clock& clock) {
  const char* const base = clock.localtime ? "local time" : "UTC";
  if (clock.ahead == 0) return fmt::format("clock of {}", base);
  const u64 seconds = clock.ahead < 0 ? 0 - static_cast<u64>(clock.ahead) : static_cast<u64>(clock.ahead);
  return fmt::format("clock {} s {} {}", seconds, clock.ahead < 0 ? "behind" : "ahead of", base);
}

std::optional<i64> read_seconds(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  i64 seconds = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool whole = error == std::errc() && stop == text.data() + text.size();
  return whole ? std::optional(seconds) : std::nullopt;
}

std::string clock_keys(const Clock& clock) {
  DomainConfig config;
  config.localtime = clock.localtime;
  config.rtc_timeoffset = clock.ahead;
  return write_config(config);
}

}  // namespace cloister::toolstack::vm
