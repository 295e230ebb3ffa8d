// A line of at most PIPE_BUF bytes is written whole or not at all (pipe(7)); of a longer one there may be a part.
#include "host/pipe_sink.hpp"

#include <unistd.h>

#include <cerrno>

namespace cloister::toolstack {

std::string PipeSink::text_of(const spdlog::details::log_msg& message) {
  spdlog::memory_buf_t text;
  formatter_->format(message, text);
  return {text.data(), text.size()};
}

bool PipeSink::write_line(const std::string& line) {
  const std::string whole = torn_ ? "\n" + line : line;
  ssize_t written;
  do {
    written = ::write(descriptor_, whole.data(), whole.size());
  } while (written < 0 && errno == EINTR);
  if (written <= 0) return false;
  torn_ = static_cast<std::size_t>(written) < whole.size();
  return !torn_;
}

void PipeSink::sink_it_(const spdlog::details::log_msg& message) {
  if (!limit_.admit(LineLimit::Clock::now())) return limit_.lose();
  if (const u64 lost = limit_.take_lost(); lost != 0) {
    const std::string text = "event=lines-suppressed times=" + std::to_string(lost);
    const spdlog::details::log_msg note(message.logger_name, spdlog::level::warn, text);
    if (!write_line(text_of(note))) return limit_.lose(lost + 1);
  }
  if (!write_line(text_of(message))) limit_.lose();
}

}  // namespace cloister::toolstack
