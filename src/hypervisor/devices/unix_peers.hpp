// Peers by Unix sockets, as Firecracker and Cloud Hypervisor have them: a program that connects to the socket here and
// says "CONNECT PORT\n" calls that port of the guest's, and hears "OK HOSTPORT\n" once the guest has answered. For
// calls of the guest another process connects to a socket, who has the right to (host/vsock_connector.hpp): only
// descriptors come from there. Neither is trusted.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <set>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "host/fd.hpp"
#include "hypervisor/devices/date_calls.hpp"
#include "hypervisor/devices/waker.hpp"
#include "platform/virtio/vsock.hpp"

namespace cloister::hypervisor {

class UnixPeers final : public platform::virtio::Peers {
 public:
  /// Of programs that have connected, and have not said all that they want, or have and have not been taken over.
  static constexpr std::size_t most_callers = 16;
  /// That it may have, its connections' among them, and those of answers that have come.
  static constexpr std::size_t most_descriptors = 2 * platform::virtio::Vsock::most_connections + 2 * most_callers + 8;

  /// listening: a stream socket, already listening. connector: the connection to that process; invalid: there is none.
  /// ahead: the guest's date, of the host's.
  static tl::expected<std::shared_ptr<UnixPeers>, std::string> create(Fd listening, Fd connector,
                                                                      std::chrono::seconds ahead = {});
  UnixPeers(Fd listening, Fd connector, Fd wake, std::chrono::seconds ahead);

  std::optional<Call> next_call() override;
  std::optional<u32> ask(u32 port) override;
  std::optional<Answer> next_answer() override;
  void wait(Wait how) override;
  void wake() override;
  void stood_still() override;

 private:
  class Stream;
  /// One that has not said all yet.
  struct Caller {
    Fd socket;
    std::string said;
  };
  int wait_ms(Wait how) const;
  void accept();
  /// False: it is no caller any more.
  bool listen_to(Caller& caller);
  void take_answers();
  void lose_connector();

  const Fd listening_;
  Waker waker_;
  Fd connector_;
  DateCalls date_calls_;
  u32 last_number_ = 0;
  std::set<u32> asked_;           ///< that have no answer
  std::vector<Stream*> streams_;  ///< all that there are
  std::vector<Caller> callers_;   ///< the oldest first
  std::deque<Call> calls_;
  std::deque<Answer> answers_;
};

}  // namespace cloister::hypervisor
