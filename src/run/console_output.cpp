#include "run/console_output.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "host/stoppable_write.hpp"

namespace cloister::toolstack {

void ConsoleOutput::add(std::span<const u8> bytes) {
  last_line_.feed(bytes);
  if (failed_) return;
  const Written written = write_unless([this] { return patience_.over(); }, STDOUT_FILENO, bytes);
  if (written == Written::given_up) unread_ = true;
  if (written != Written::failed) return;
  failed_ = errno;
  stop_.request();
}

bool ConsoleOutput::finish() const {
  if (failed_) spdlog::error("cloister: cannot write the console to standard output: {}", std::strerror(*failed_));
  if (unread_) spdlog::warn("cloister: standard output was not read to the end: some of the console is lost");
  return !failed_;
}

}  // namespace cloister::toolstack
