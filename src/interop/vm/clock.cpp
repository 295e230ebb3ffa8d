#include "interop/vm/clock.hpp"

#include <fmt/format.h>

#include "config/config.hpp"
#include "text/whole_number.hpp"

namespace cloister::toolstack::vm {

std::string clock_in_words(const Clock& clock) {
  const char* const base = clock.localtime ? "local time" : "UTC";
  if (clock.ahead == 0) return fmt::format("clock of {}", base);
  const u64 seconds = clock.ahead < 0 ? 0 - static_cast<u64>(clock.ahead) : static_cast<u64>(clock.ahead);
  return fmt::format("clock {} s {} {}", seconds, clock.ahead < 0 ? "behind" : "ahead of", base);
}

std::optional<i64> read_seconds(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  return whole_number<i64>(text);
}

std::string clock_keys(const Clock& clock) {
  DomainConfig config;
  config.localtime = clock.localtime;
  config.rtc_timeoffset = clock.ahead;
  return write_config(config);
}

}  // namespace cloister::toolstack::vm
