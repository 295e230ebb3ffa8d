// A value is bare if it has only letters, digits and harmless signs.
#include "host/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "host/pipe_sink.hpp"
#include "text/utf8.hpp"

namespace cloister::toolstack {

namespace {

bool harmless(char c) {
  constexpr std::string_view signs = "-_.:/+@,#%";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         signs.find(c) != std::string_view::npos;
}

std::string in_quotes(std::string_view value) {
  std::string text = "\"";
  while (!value.empty()) {
    if (text.size() > longest_log_field) {
      text += "…";
      break;
    }
    const std::size_t size = utf8_character(value);
    const char c = value.front();
    if (c == '"' || c == '\\') {
      text.append("\\").append(1, c);
    } else if (c == '\n') {
      text += "\\n";
    } else if (size == 0 || is_control_character(value.substr(0, size))) {
      for (const char byte : value.substr(0, std::max<std::size_t>(size, 1)))
        text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    } else {
      text += value.substr(0, size);
    }
    value.remove_prefix(std::max<std::size_t>(size, 1));
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

void set_up(std::shared_ptr<spdlog::logger> logger) {
  logger->set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ level=%l program=%n %v", spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

void set_up_log(const std::string& program) { set_up(spdlog::stderr_logger_mt(program)); }

void set_up_piped_log(const std::string& program) {
  set_up(std::make_shared<spdlog::logger>(program, std::make_shared<PipeSink>(STDERR_FILENO)));
}

std::string logfmt(std::string_view key, std::string_view value) {
  const bool bare = !value.empty() && value.size() <= longest_log_field && std::ranges::all_of(value, harmless);
  return std::string(key).append("=").append(bare ? std::string(value) : in_quotes(value));
}

void log(LogLevel level, std::string_view event, LogFields fields) {
  std::string line = logfmt("event", event);
  for (const auto& [key, value] : fields) {
    if (!value.empty()) line.append(" ").append(logfmt(key, value));
  }
  spdlog::log(level_of(level), "{}", line);
}

void log_for(const std::string& program, LogLevel level, const std::string& fields) {
  const auto& sinks = spdlog::default_logger_raw()->sinks();
  spdlog::logger other(program, sinks.begin(), sinks.end());
  other.flush_on(spdlog::level::info);
  other.log(level_of(level), "{}", fields);
}

}  // namespace cloister::toolstack
