// A named pipe without a reader is an error at once, and one whose reader sleeps is not waited for longer than others
// are.
#include "run/trace_file.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>

#include "host/stoppable_write.hpp"

namespace cloister::toolstack {

namespace {
constexpr std::size_t buffered = 64 << 10;
}

tl::expected<std::unique_ptr<TraceFile>, std::string> TraceFile::open(const std::string& path, Patience& patience) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666));
  if (!fd) {
    const char* why = errno == ENXIO ? "nobody reads it" : std::strerror(errno);
    return tl::unexpected("trace file " + path + ": " + why);
  }
  return std::unique_ptr<TraceFile>(new TraceFile(path, std::move(fd), patience));
}

void TraceFile::add(std::string_view line) {
  const MutexLock held(lock_);
  if (lost_) return;
  pending_ += line;
  if (pending_.size() >= buffered) write_out();
}

bool TraceFile::finish() {
  const MutexLock held(lock_);
  if (!lost_) write_out();
  return !lost_;
}

void TraceFile::write_out() {
  const auto written = write_unless([this] { return patience_.over(); }, fd_.get(),
                                    {reinterpret_cast<const u8*>(pending_.data()), pending_.size()});
  pending_.clear();
  if (written == Written::all) return;
  lost_ = true;
  spdlog::error("cloister: trace file {}: {}; the trace has no more lines", path_,
                written == Written::failed ? std::strerror(errno) : "its reader did not take all in time");
}

}  // namespace cloister::toolstack
