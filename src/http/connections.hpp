// The connections of a server: one thread waits for all of them, and hands whole requests to workers. A client that is
// silent or slow so costs a buffer and, at the end of its time, nothing.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "host/mutex.hpp"
#include "host/unix_socket.hpp"
#include "http/frame.hpp"
#include "http/workers.hpp"

namespace cloister::toolstack {

/// What is at the other end of the wire's text. Neither throws.
struct HttpAnswerer {
  /// A whole request, as HttpFrame gives it, and its answer. On any of the workers' threads. socket: the connection's,
  /// borrowed; whoever duplicates it has it for himself once an answer with status 101 is written.
  std::function<std::string(const std::string& request, const Peer& peer, int socket)> answer;
  /// The answer to what is no request (400, 413, 417, 431), is too slow (408) or one too many (503). On any thread.
  std::function<std::string(int status, const Peer& peer)> refuse;
};

struct HttpLimits {
  /// From a connection's first moment to its whole request; and for the whole answer, once there is one.
  std::chrono::milliseconds transfer{10'000};
  /// After an answer to what was not read to its end.
  std::chrono::milliseconds farewell{2'000};
  /// Connections of one user; of all that are not privileged (is_privileged()).
  std::size_t of_a_user = 32, of_others = 256;
  /// Bytes of answers that a user has not read yet, above which no more of his requests begin.
  std::size_t unread_of_a_user = 16 << 20;
  Workers::Limits workers{};
};

class HttpConnections {
 public:
  /// listening: a SOCK_STREAM socket. On one that has no peers' credentials all clients are one user.
  HttpConnections(Fd listening, HttpAnswerer answerer, const HttpLimits& limits);
  /// Waits for requests that are being answered, and a moment for their answers to be read; for nothing else.
  ~HttpConnections();
  HttpConnections(const HttpConnections&) = delete;
  HttpConnections& operator=(const HttpConnections&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  /// In this order, but that a refusal goes from reading to writing. Nobody is waited for in `whole` and `answering`.
  enum class State { reading, whole, answering, writing, farewell, gone };
  struct Connection {
    Fd socket;
    Peer peer;
    State state = State::reading;
    Clock::time_point deadline;
    HttpFrame frame{};
    std::string answer{};
    std::size_t written = 0, drained = 0;
    bool ready = true;      ///< worth a try
    bool all_read = false;  ///< the client may be left as soon as it has its answer
  };
  /// By age.
  using Table = std::map<u64, Connection>;

  void loop();
  void wait();
  void take_answers();
  void accept_all();
  void admit(Fd socket);
  bool make_room(const Peer& peer);
  void act(Connection& connection);
  void read(Connection& connection);
  void write(Connection& connection);
  void drain(Connection& connection);
  void answer(Connection& connection, std::string text, bool all_read);
  void begin_whole();
  void stop();

  Fd listening_, wake_;
  HttpAnswerer answerer_;
  HttpLimits limits_;
  Table connections_;
  u64 next_ = 0;
  Clock::time_point accept_again_{};
  bool stopped_ = false;

  std::atomic<bool> stopping_{false};
  Mutex lock_;
  std::vector<std::pair<u64, std::string>> answers_ CLOISTER_GUARDED_BY(lock_);
  Workers workers_;  ///< whose jobs use all of the above
  std::thread thread_;
};

}  // namespace cloister::toolstack
