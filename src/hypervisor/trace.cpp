// Opening the trace file; lines are buffered by the C library and complete when the trace is destroyed.
#include "hypervisor/trace.hpp"

#include <cerrno>
#include <cstring>

namespace cloister::hypervisor {

tl::expected<Trace, std::string> Trace::open(const TraceOptions& options) {
  Trace trace;
  if (options.path.empty()) return trace;
  trace.file_.reset(std::fopen(options.path.c_str(), "we"));
  if (!trace.file_) return tl::unexpected(fmt::format("trace file {}: {}", options.path, std::strerror(errno)));
  trace.wants_ = options;
  return trace;
}

}  // namespace cloister::hypervisor
