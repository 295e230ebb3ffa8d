// A value is bare if it has only letters, digits and harmless signs.
#include "toolstack/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace cloister::toolstack {

namespace {

bool harmless(char c) {
  constexpr std::string_view signs = "-_.:/+@,#%";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         signs.find(c) != std::string_view::npos;
}

std::string in_quotes(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text.append("\\").append(1, c);
    } else if (c == '\n') {
      text += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  return text + '"';
}

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: break;
  }
  return spdlog::level::err;
}

}  // namespace

void set_up_log(const std::string& program) {
  auto logger = spdlog::stderr_logger_mt(program);
  logger->set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ level=%l program=%n %v", spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

std::string logfmt(std::string_view key, std::string_view value) {
  const bool bare = !value.empty() && std::ranges::all_of(value, harmless);
  return std::string(key).append("=").append(bare ? std::string(value) : in_quotes(value));
}

void log(LogLevel level, std::string_view event, LogFields fields) {
  std::string line = logfmt("event", event);
  for (const auto& [key, value] : fields) {
    if (!value.empty()) line.append(" ").append(logfmt(key, value));
  }
  spdlog::log(level_of(level), "{}", line);
}

}  // namespace cloister::toolstack
