// The trace: one line an event, `TIME KIND field=value …`, TIME in TSC cycles. A kind that was not asked for costs one
// test of a bool. Where the lines go is the caller's.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>

#include "hypervisor/outcome.hpp"

namespace cloister::hypervisor {

class Trace {
 public:
  /// No trace.
  Trace() = default;
  explicit Trace(TraceOptions options) : wants_(std::move(options)) {
    if (!wants_.out) wants_ = {};
  }

  const TraceOptions& wants() const { return wants_; }

  template <class... Args>
  void line(u64 time, const char* kind, fmt::format_string<Args...> format, Args&&... args) {
    if (!wants_.out) return;
    wants_.out(fmt::format("{} {} ", time, kind) + fmt::format(format, std::forward<Args>(args)...) + "\n");
  }

 private:
  TraceOptions wants_;
};

}  // namespace cloister::hypervisor
