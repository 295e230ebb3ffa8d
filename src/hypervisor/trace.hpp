// The trace file: one line an event, `TIME KIND field=value …`, TIME in TSC cycles. A kind that was not asked for costs
// one test of a bool.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "hypervisor/domain.hpp"

namespace cloister::hypervisor {

class Trace {
 public:
  /// No trace.
  Trace() = default;
  static tl::expected<Trace, std::string> open(const TraceOptions& options);

  const TraceOptions& wants() const { return wants_; }

  template <class... Args>
  void line(u64 time, const char* kind, fmt::format_string<Args...> format, Args&&... args) {
    if (!file_) return;
    fmt::print(file_.get(), "{} {} ", time, kind);
    fmt::print(file_.get(), format, std::forward<Args>(args)...);
    std::fputc('\n', file_.get());
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  TraceOptions wants_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace cloister::hypervisor
