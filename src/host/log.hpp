// Structured messages of the programs without a terminal: one line each on standard error, in logfmt (KEY=VALUE, values
// in quotes where they need them), with the time in UTC.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace cloister::toolstack {

enum class LogLevel { info, warning, error };
using LogFields = std::initializer_list<std::pair<std::string_view, std::string>>;

/// Makes log() write to standard error, as `program`.
void set_up_log(const std::string& program);
/// The same for a program whose standard error is another's pipe (pipe_sink.hpp): it never waits.
void set_up_piped_log(const std::string& program);

/// Any thread. `event` says what happened in words joined by "-"; fields without a value are left out.
void log(LogLevel level, std::string_view event, LogFields fields);

/// A longer value is cut there, and ends with "…".
inline constexpr std::size_t longest_log_field = 16 << 10;

/// KEY=VALUE, quoted and escaped as needed: control characters, and bytes that are not UTF-8, are \xNN.
std::string logfmt(std::string_view key, std::string_view value);

/// A line of `program`'s, whose fields are made already.
void log_for(const std::string& program, LogLevel level, const std::string& fields);

}  // namespace cloister::toolstack
