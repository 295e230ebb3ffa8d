// The trace file: one line an event, `TIME KIND field=value …`, TIME in TSC cycles. A kind that was not asked for costs
// one test of a bool.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "hypervisor/outcome.hpp"

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
    std::string text = fmt::format("{} {} ", time, kind);
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
    text += '\n';
    std::fwrite(text.data(), 1, text.size(), file_.get());  // at once: processors write at the same time
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  TraceOptions wants_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace cloister::hypervisor
