// The guest's console among those who look at it: each gets the history first and then what comes; what any of them
// types goes to the guest. One who does not read fast enough is dropped: the guest never waits for anybody. One who has
// only ended what it types (shutdown(2)) goes on reading; one too many is told so.
#pragma once

#include <poll.h>

#include <functional>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "host/mutex.hpp"
#include "host/unix_socket.hpp"
#include "protocol/domain_page.hpp"

namespace cloister::toolstack {

class ConsoleHub {
 public:
  static constexpr std::size_t most_viewers = 16, longest_backlog = 256 << 10;

  /// listening: a SOCK_STREAM socket. The page must outlive the hub.
  ConsoleHub(DomainPage& page, Fd listening);

  /// What the guest's serial port reads; never at its end.
  int input() const { return typed_out_.get(); }
  /// Bytes from the guest. Any thread; never waits.
  void output(std::span<const u8> bytes);

  // ---- the service's thread
  /// Becomes readable when there is something to do that poll_set() did not know of.
  int wake_descriptor() const { return wake_.get(); }
  /// What to wait for.
  std::vector<pollfd> poll_set();
  /// After the wait: new viewers, typed bytes, output.
  void serve(std::span<const pollfd> ready);
  /// Those stay who are root, or of whom this is so.
  void keep(const std::function<bool(const Peer&)>& may_stay);
  /// Every viewer has everything.
  bool flushed();

 private:
  struct Viewer {
    Fd socket;
    // These two are guarded by the hub's lock_, which no attribute can name here.
    std::string pending;  ///< to be sent
    bool dropped = false;
    bool types = true;  ///< false: it has said that nothing more comes
  };
  /// The service's thread alone changes the list, and may walk it without the lock.
  std::list<Viewer>& own_viewers() CLOISTER_NO_THREAD_SAFETY_ANALYSIS { return viewers_; }
  void attach();
  void read_keys(Viewer& viewer);
  void send(Viewer& viewer);

  DomainPage& page_;
  Fd listening_, typed_in_, typed_out_, wake_;
  Mutex lock_;  ///< of the page's console, too
  std::list<Viewer> viewers_ CLOISTER_GUARDED_BY(lock_);
};

}  // namespace cloister::toolstack
