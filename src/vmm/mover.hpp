// A domain that moves to another daemon (docs/migration.md): a thread of its own sends its RAM while its guest runs,
// then has the guest stand still, sends the rest, and waits for a word. Until it is told to hold, the domain goes on
// by itself as soon as whoever takes its stream goes away; from then on by a word alone, since it may run elsewhere.
//
// With its enclaves alive all of its EPC goes out when the guest stands still, and all of it is sent but their root,
// which leaves once it was told to hold. Then the word that lets it go on is the token that takes them back.
//
// Its disks are its target's to lock from when its guest stands still (disk_locks.hpp): it goes on when it has them
// again, however long that takes.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "host/fd.hpp"
#include "host/mutex.hpp"
#include "protocol/domain_page.hpp"
#include "protocol/moving.hpp"
#include "stream/sealing.hpp"
#include "vmm/disk_locks.hpp"
#include "vmm/lifecycle.hpp"

namespace cloister::hypervisor {
class LiveCopy;
}

namespace cloister::toolstack {

class Mover {
 public:
  using Done = Lifecycle::Done;

  /// All must outlive this.
  Mover(Lifecycle& lifecycle, DomainPage& page, DiskLocks& disks) : lifecycle_(lifecycle), page_(page), disks_(disks) {}
  /// Waits for its thread: a domain whose run has ended does not move.
  ~Mover();
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  // The service's thread.
  /// socket: a byte on it says that its other end is ready.
  /// enclaves: they go with it, as this says; none: they are lost.
  Done start(Fd socket, const std::string& session, const MoveLimits& limits,
             const std::optional<MoveOrder>& enclaves = {});
  Done hold(const std::string& session);
  /// It goes on here. cancel: unless it is held, and may run elsewhere. token: if its enclaves have left.
  Done end(bool cancel, const std::optional<vmx::MoveToken>& token = {});
  const DiskLocks& disks() const { return disks_; }
  /// It goes on here, whatever became of its enclaves, which are lost, and with other keys.
  Done start_over(const vmx::PlatformSecrets& secrets);

 private:
  using Clock = std::chrono::steady_clock;
  class Speed;

  void run(hypervisor::Domain& domain);
  Done copy(hypervisor::LiveCopy& live);
  Done rounds(hypervisor::LiveCopy& copy);
  Done finish(hypervisor::LiveCopy& live);
  Done put_last();
  void send_root(hypervisor::LiveCopy& live) CLOISTER_REQUIRES(lock_);
  void note_pause();
  Done wait_for(short events, Clock::time_point latest = Clock::time_point::max());
  Done put(std::span<const u8> bytes);
  Done add(std::span<const u8> bytes);
  Done put_piece();
  Done put_piece(std::span<const u8> bytes);
  void keep_to_bandwidth();
  void wait_for_word(hypervisor::LiveCopy& live);

  void take_disks_back();
  void resume() CLOISTER_REQUIRES(lock_);

  Lifecycle& lifecycle_;
  DomainPage& page_;
  DiskLocks& disks_;
  Fd socket_;
  MoveLimits limits_;
  std::optional<MoveOrder> order_;
  std::unique_ptr<stream::Sealer> sealer_;  ///< with enclaves
  std::vector<u8> piece_;
  Clock::time_point began_{};
  Clock::duration idle_{};  ///< of the time since, what was left to keep to the bandwidth
  u64 sent_ = 0;            ///< bytes since then
  bool live_ = true;        ///< the guest runs: the bandwidth counts
  Clock::time_point stands_{};
  Mutex lock_;
  Condition changed_;
  bool resumes_ CLOISTER_GUARDED_BY(lock_) = false, over_ CLOISTER_GUARDED_BY(lock_) = true;
  /// Its EPC is out; the root has left, too.
  bool out_ CLOISTER_GUARDED_BY(lock_) = false, left_ CLOISTER_GUARDED_BY(lock_) = false;
  hypervisor::Domain* domain_ CLOISTER_GUARDED_BY(lock_) = nullptr;  ///< while it moves
  std::thread thread_;
};

}  // namespace cloister::toolstack
