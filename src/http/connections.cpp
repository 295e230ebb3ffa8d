// Each turn of the loop waits for sockets, answers and the nearest deadline, and then takes each connection as far as
// it gets without waiting.
#include "http/connections.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "host/threads.hpp"

namespace cloister::toolstack {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t longest_drained = 8 << 20;
constexpr int most_accepted_at_once = 64;
/// Without descriptors or memory for another connection.
constexpr milliseconds before_accepting_again(100);
/// When the server ends, for an answer that a request still gets.
constexpr milliseconds longest_last_word(1000);

/// Another protocol than HTTP is spoken from here on, by whoever has the socket, too.
bool is_switch(std::string_view answer) { return answer.starts_with("HTTP/1.1 101 "); }

bool would_wait() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

HttpConnections::HttpConnections(Fd listening, HttpAnswerer answerer, const HttpLimits& limits)
    : listening_(std::move(listening)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      answerer_(std::move(answerer)),
      limits_(limits),
      workers_(limits.workers) {
  ::fcntl(listening_.get(), F_SETFL, ::fcntl(listening_.get(), F_GETFL) | O_NONBLOCK);
  thread_ = start_thread([this] { loop(); });
}

HttpConnections::~HttpConnections() {
  stopping_ = true;
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void HttpConnections::loop() {
  while (true) {
    wait();
    take_answers();
    if (stopping_ && !stopped_) stop();
    if (!stopped_) accept_all();
    for (auto& [age, connection] : connections_) act(connection);
    std::erase_if(connections_, [](const auto& entry) { return entry.second.state == State::gone; });
    begin_whole();
    if (stopped_ && connections_.empty()) return;
  }
}

void HttpConnections::wait() {
  std::vector<pollfd> set{{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
  auto nearest = Clock::time_point::max();
  if (!stopped_ && Clock::now() < accept_again_) {
    nearest = accept_again_;
  } else if (!stopped_) {
    set.push_back({.fd = listening_.get(), .events = POLLIN, .revents = 0});
  }
  std::vector<Connection*> waiting;
  for (auto& [age, connection] : connections_) {
    // Of these poll() would tell for ever that the other end has gone.
    if (connection.state == State::whole || connection.state == State::answering) continue;
    const short events = connection.state == State::writing ? POLLOUT : POLLIN;
    set.push_back({.fd = connection.socket.get(), .events = events, .revents = 0});
    waiting.push_back(&connection);
    nearest = std::min(nearest, connection.deadline);
  }
  int timeout = -1;
  if (nearest != Clock::time_point::max()) {
    const auto left = std::chrono::ceil<milliseconds>(nearest - Clock::now()).count();
    timeout = static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
  }
  ::poll(set.data(), set.size(), timeout);
  const std::size_t first = set.size() - waiting.size();
  for (std::size_t i = 0; i < waiting.size(); ++i) waiting[i]->ready = set[first + i].revents != 0;
  eventfd_t count = 0;
  if (set[0].revents != 0) ::eventfd_read(wake_.get(), &count);
}

void HttpConnections::take_answers() {
  std::vector<std::pair<u64, std::string>> answers;
  {
    const MutexLock held(lock_);
    answers.swap(answers_);
  }
  for (auto& [age, text] : answers) answer(connections_.at(age), std::move(text), true);
}

// ---- who may connect

void HttpConnections::accept_all() {
  for (int i = 0; i < most_accepted_at_once; ++i) {
    Fd socket(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      admit(std::move(socket));
    } else if (errno != ECONNABORTED && errno != EINTR) {
      if (!would_wait()) accept_again_ = Clock::now() + before_accepting_again;
      return;
    }
  }
}

void HttpConnections::admit(Fd socket) {
  Connection connection{.socket = std::move(socket), .peer = {}, .deadline = Clock::now() + limits_.transfer};
  connection.peer = peer_of(connection.socket.get());
  if (!make_room(connection.peer)) {
    const std::string text = answerer_.refuse(503, connection.peer);
    // What has just been connected has room for it.
    (void)::send(connection.socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
    return;
  }
  connections_.emplace(next_++, std::move(connection));
}

/// The oldest connection that still owes its request goes: this user's own, if he is at his limit, else one of whoever
/// has most. A request comes within a moment if it comes at all, so the silent are the oldest. False: there is none.
bool HttpConnections::make_room(const Peer& peer) {
  std::map<unsigned, std::size_t> counts;
  std::size_t others = 0;
  for (const auto& [age, connection] : connections_) {
    if (connection.state == State::gone) continue;
    ++counts[connection.peer.uid];
    others += is_privileged(connection.peer.uid) ? 0 : 1;
  }
  const auto drop_oldest = [&](unsigned uid, auto may_go) {
    const auto oldest = std::ranges::find_if(
        connections_, [&](const auto& entry) { return entry.second.peer.uid == uid && may_go(entry.second.state); });
    if (oldest == connections_.end()) return false;
    oldest->second.state = State::gone;
    oldest->second.socket = Fd();
    return true;
  };
  const auto owes_its_request = [](State state) { return state == State::reading || state == State::farewell; };
  if (counts[peer.uid] >= limits_.of_a_user) return drop_oldest(peer.uid, owes_its_request);
  if (is_privileged(peer.uid) || others < limits_.of_others) return true;
  std::erase_if(counts, [](const auto& count) { return is_privileged(count.first); });
  const unsigned most = std::ranges::max_element(counts, {}, [](const auto& count) { return count.second; })->first;
  return drop_oldest(most, owes_its_request) || drop_oldest(most, [](State state) { return state == State::writing; });
}

// ---- a connection's life

void HttpConnections::act(Connection& connection) {
  if (connection.ready && connection.state == State::reading) read(connection);
  if (connection.ready && connection.state == State::writing) write(connection);
  if (connection.ready && connection.state == State::farewell) drain(connection);
  const bool waits_for_client =
      connection.state == State::reading || connection.state == State::writing || connection.state == State::farewell;
  if (!waits_for_client || Clock::now() < connection.deadline) return;
  if (connection.state != State::reading) {
    connection.state = State::gone;
    return;
  }
  answer(connection, answerer_.refuse(408, connection.peer), false);
  write(connection);
}

void HttpConnections::read(Connection& connection) {
  // One piece a turn: nobody's flood keeps the others waiting.
  std::array<char, 65536> piece;
  const ssize_t got = ::recv(connection.socket.get(), piece.data(), piece.size(), 0);
  if (got < 0) {
    if (!would_wait()) connection.state = State::gone;
    return;
  }
  HttpFrame& frame = connection.frame;
  const bool any = frame.begun();
  if (got == 0 && !any) {
    connection.state = State::gone;
    return;
  }
  const auto state = got == 0 ? frame.end() : frame.feed({piece.data(), static_cast<std::size_t>(got)});
  if (state == HttpFrame::State::whole) {
    connection.state = State::whole;
  } else if (state == HttpFrame::State::refused) {
    answer(connection, answerer_.refuse(frame.status(), connection.peer), false);
  } else if (frame.take_expectation()) {
    constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    (void)::send(connection.socket.get(), go_on.data(), go_on.size(), MSG_NOSIGNAL);
  }
}

/// all_read: of the request nothing is left to read.
void HttpConnections::answer(Connection& connection, std::string text, bool all_read) {
  connection.state = State::writing;
  connection.ready = true;
  connection.answer = std::move(text);
  connection.all_read = all_read;
  // It has time of its own, however long it took to find.
  connection.deadline = Clock::now() + (stopped_ ? longest_last_word : limits_.transfer);
}

void HttpConnections::write(Connection& connection) {
  const std::string_view rest = std::string_view(connection.answer).substr(connection.written);
  const ssize_t sent = ::send(connection.socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (sent < 0) {
    if (!would_wait()) connection.state = State::gone;
    return;
  }
  connection.written += static_cast<std::size_t>(sent);
  if (connection.written < connection.answer.size()) return;
  if (is_switch(connection.answer)) {
    connection.state = State::gone;
    return;
  }
  connection.answer = std::string();
  connection.written = 0;
  connection.state = connection.all_read || stopped_ ? State::gone : State::farewell;
  ::shutdown(connection.socket.get(), SHUT_WR);
  connection.deadline = Clock::now() + limits_.farewell;
}

/// Lets the other end finish what it sends. It would not see its answer otherwise: closing a Unix socket with something
/// unread resets the connection.
void HttpConnections::drain(Connection& connection) {
  std::array<char, 65536> piece;
  const ssize_t got = ::recv(connection.socket.get(), piece.data(), piece.size(), 0);
  if (got < 0 && would_wait()) return;
  if (got > 0) connection.drained += static_cast<std::size_t>(got);
  if (got <= 0 || connection.drained > longest_drained) connection.state = State::gone;
}

/// Hands whole requests to the workers, of a user who reads what he is given.
void HttpConnections::begin_whole() {
  std::map<unsigned, std::size_t> unread;
  for (const auto& [age, connection] : connections_)
    unread[connection.peer.uid] += connection.answer.size() - connection.written;
  for (auto& [age, connection] : connections_) {
    if (connection.state != State::whole || unread[connection.peer.uid] > limits_.unread_of_a_user) continue;
    connection.state = State::answering;
    workers_.add(connection.peer.uid, [this, number = age, request = connection.frame.take(), peer = connection.peer,
                                       socket = connection.socket.get()] {
      // What has not begun when the server ends never does.
      std::string text = stopping_ ? answerer_.refuse(503, peer) : answerer_.answer(request, peer, socket);
      {
        const MutexLock held(lock_);
        answers_.emplace_back(number, std::move(text));
      }
      ::eventfd_write(wake_.get(), 1);
    });
  }
}

/// Leaves everybody whose request is not being answered.
void HttpConnections::stop() {
  stopped_ = true;
  listening_ = Fd();
  for (auto& [age, connection] : connections_) {
    if (connection.state == State::reading || connection.state == State::farewell) connection.state = State::gone;
    if (connection.state == State::whole) answer(connection, answerer_.refuse(503, connection.peer), true);
    if (connection.state == State::writing)
      connection.deadline = std::min(connection.deadline, Clock::now() + longest_last_word);
  }
}

}  // namespace cloister::toolstack
