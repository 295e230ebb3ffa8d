// A VMM's second thread: it answers the daemon and serves the console, and never waits for anybody.
#pragma once

#include <atomic>
#include <list>
#include <thread>

#include "vmm/console_hub.hpp"
#include "vmm/termination.hpp"
#include "vmm/verbs.hpp"

namespace cloister::toolstack {

class Service {
 public:
  static constexpr std::size_t most_connections = 16;

  /// listening: a SOCK_SEQPACKET socket; its first connection is the launching one. owner: the user who may connect,
  /// beside root. Context and hub must outlive this.
  Service(VerbContext context, ConsoleHub& hub, Fd listening, unsigned owner);
  /// Gives console viewers a moment to take what is left, then ends the thread.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

 private:
  void serve();
  void accept();
  /// Says that it is one too many, whether it has asked already or not.
  static void turn_away(int connection);
  bool may_control(int connection) const;
  /// False: the connection is over.
  bool handle(int connection);

  VerbContext context_;
  ConsoleHub& hub_;
  Fd listening_, wake_;
  Termination termination_;
  unsigned owner_;
  std::list<Fd> connections_;
  bool launch_seen_ = false;
  int launching_ = -1;  ///< the launching connection; -1 before it comes and after it has gone
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace cloister::toolstack
