// A domain that moves to another daemon (docs/migration.md): a thread of its own sends its RAM while its guest runs,
// then has the guest stand still, sends the rest, and waits for a word. Until it is told to hold, the domain goes on
// by itself as soon as whoever takes its stream goes away; from then on by a word alone, since it may run elsewhere.
#pragma once

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "host/fd.hpp"
#include "host/mutex.hpp"
#include "protocol/domain_page.hpp"
#include "protocol/moving.hpp"
#include "vmm/lifecycle.hpp"

namespace cloister::hypervisor {
class LiveCopy;
}

namespace cloister::toolstack {

class Mover {
 public:
  using Done = Lifecycle::Done;

  /// Both must outlive this.
  Mover(Lifecycle& lifecycle, DomainPage& page) : lifecycle_(lifecycle), page_(page) {}
  /// Waits for its thread: a domain whose run has ended does not move.
  ~Mover();
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  // The service's thread.
  /// socket: a byte on it says that its other end is ready.
  Done start(Fd socket, const std::string& session, const MoveLimits& limits);
  Done hold(const std::string& session);
  /// It goes on here.
  /// It goes on here. cancel: unless it is held, and may run elsewhere.
  Done end(bool cancel);

 private:
  using Clock = std::chrono::steady_clock;

  void run(hypervisor::Domain& domain);
  Done copy(hypervisor::Domain& domain);
  Done rounds(hypervisor::LiveCopy& copy);
  Done wait_for(short events);
  Done put(std::span<const u8> bytes);
  Done add(std::span<const u8> bytes);
  Done put_piece();
  void keep_to_bandwidth();
  void wait_for_word();

  Lifecycle& lifecycle_;
  DomainPage& page_;
  Fd socket_;
  MoveLimits limits_;
  std::vector<u8> piece_;
  Clock::time_point began_{};
  Clock::duration idle_{};  ///< of the time since, what was left to keep to the bandwidth
  u64 sent_ = 0;            ///< bytes since then
  bool live_ = true;        ///< the guest runs: the bandwidth counts
  Mutex lock_;
  Condition changed_;
  bool resumes_ CLOISTER_GUARDED_BY(lock_) = false;
  std::thread thread_;
};

}  // namespace cloister::toolstack
