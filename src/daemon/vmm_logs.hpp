// The standard errors of all VMMs: pipes that a thread reads into the daemon's log. A VMM never has the log itself, so
// it can neither cut nor block it; what it writes too fast waits in its pipe, where its own writes then fail.
//
// Threads: all functions may be called from any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <tl/expected.hpp>

#include "daemon/vmm_line.hpp"
#include "host/files.hpp"
#include "host/line_limit.hpp"
#include "host/mutex.hpp"

namespace cloister::toolstack {

/// Neither end ever waits. The VMM's has a file description of its own.
struct LogPipe {
  Fd ours, theirs;
};
tl::expected<LogPipe, std::string> make_log_pipe();

class VmmLogs {
 public:
  /// Writes one line; called by one thread at a time.
  using Write = std::function<void(const VmmLine&)>;

  static tl::expected<std::unique_ptr<VmmLogs>, std::string> create(Write write);
  /// Lines that are there already are still written.
  ~VmmLogs();
  VmmLogs(const VmmLogs&) = delete;
  VmmLogs& operator=(const VmmLogs&) = delete;

  /// Reads from now on. A domain that was added before has a new pipe then.
  void add(u32 id, const std::string& domain, Fd pipe);
  void rename(u32 id, const std::string& domain);
  /// Writes what is left. The VMM is dead.
  void remove(u32 id);

 private:
  struct Source {
    u32 id;
    std::string domain;
    Fd pipe;
    LineReader lines{};
    LineLimit limit{};
  };
  VmmLogs(Write write, Fd wake) : write_(std::move(write)), wake_(std::move(wake)) {}
  void serve();
  bool read_once(Source& source) CLOISTER_REQUIRES(lock_);
  void take(Source& source, std::string_view line) CLOISTER_REQUIRES(lock_);
  void tell_lost(Source& source) CLOISTER_REQUIRES(lock_);
  void finish(Source& source) CLOISTER_REQUIRES(lock_);

  const Write write_;
  const Fd wake_;
  Mutex lock_;
  Condition stop_;
  std::map<u32, std::shared_ptr<Source>> sources_ CLOISTER_GUARDED_BY(lock_);
  bool stopping_ CLOISTER_GUARDED_BY(lock_) = false;
  std::thread thread_;
};

}  // namespace cloister::toolstack
