#include "vmm/mover.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "arch/sizes.hpp"
#include "arch/try.hpp"
#include "host/log.hpp"
#include "host/threads.hpp"
#include "hypervisor/domain.hpp"
#include "hypervisor/saving/live.hpp"
#include "stream/codec.hpp"

namespace cloister::toolstack {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

/// How soon somebody notices that it does not move any more.
constexpr milliseconds between_glances{50};
/// What its guest stands still for beside what is left of RAM and EPC, in microseconds.
constexpr u64 most_behind_us = 100'000;
/// That a page of EPC takes, until some have left.
constexpr double unknown_epc_us = 50;
/// Who brought the socket says at once that it has the answer. It waits for one that never comes, and keeps the socket
/// open, where the daemon has died between handing it over and answering.
constexpr std::chrono::seconds longest_silence{10};
/// Of a move's end: who asked for it waits no longer.
constexpr milliseconds most_patience{2000};

tl::unexpected<std::string> does_not_move(std::string why) { return tl::unexpected(std::move(why)); }

bool has_gone(int socket) {
  pollfd look{.fd = socket, .events = 0, .revents = 0};
  return ::poll(&look, 1, 0) > 0 && (look.revents & (POLLHUP | POLLERR)) != 0;
}

u64 bytes_per_second(u64 amount, std::chrono::steady_clock::duration time) {
  const auto us = std::max<std::int64_t>(std::chrono::duration_cast<microseconds>(time).count(), 1);
  return static_cast<u64>(static_cast<double>(amount) * 1e6 / static_cast<double>(us));
}

}  // namespace

Mover::~Mover() {
  if (thread_.joinable()) thread_.join();
}

Mover::Done Mover::start(Fd socket, const std::string& session, const MoveLimits& limits,
                         const std::optional<MoveOrder>& enclaves) {
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) return does_not_move(std::strerror(errno));
  const auto domain = lifecycle_.begin_move();
  if (!domain) return does_not_move(domain.error());
  if (thread_.joinable()) thread_.join();  // of a move that has come to nothing
  std::string stay = disks_.why_they_stay();
  if (stay.empty() && enclaves) stay = (*domain)->why_enclaves_stay();
  if (!stay.empty()) {
    lifecycle_.end_move();
    return does_not_move(stay);
  }
  socket_ = std::move(socket);
  limits_ = limits;
  order_ = enclaves;
  piece_.clear();
  idle_ = {};
  sent_ = 0;
  live_ = true;
  {
    const MutexLock held(lock_);
    resumes_ = out_ = left_ = over_ = false;
    domain_ = *domain;
    page_.start_move(session, enclaves.has_value());
  }
  try {
    thread_ = start_thread([this, &its = **domain] { run(its); });
  } catch (const std::system_error& error) {
    page_.end_move(error.what());
    lifecycle_.end_move();
    return does_not_move(error.what());
  }
  return {};
}

void Mover::run(hypervisor::Domain& domain) {
  const auto pieces = [this](std::span<const u8> bytes) { return add(bytes); };
  sealer_ = order_ ? std::make_unique<stream::Sealer>(pieces, order_->key, order_->id) : nullptr;
  stream::Writer writer(sealer_ != nullptr ? sealer_->sink() : stream::Sink(pieces));
  auto live = domain.live_copy(writer);
  Done moved = copy(*live);
  if (moved) wait_for_word(*live);
  socket_ = Fd();
  {
    const MutexLock held(lock_);
    if (out_) {
      if (const Done back = live->keep_enclaves(); !back) moved = back;
    }
    out_ = false;
    domain_ = nullptr;
  }
  take_disks_back();
  {
    const MutexLock held(lock_);
    page_.end_move(moved ? std::string() : moved.error());
  }
  lifecycle_.let_move_run();
  live.reset();  // what is not back comes while its guest runs
  sealer_.reset();
  order_.reset();
  lifecycle_.end_move();
  const MutexLock held(lock_);
  over_ = true;
  changed_.notify_all();
}

Mover::Done Mover::copy(hypervisor::LiveCopy& live) {
  // What it says before is the answer to who brought this socket.
  TRY(wait_for(POLLIN, Clock::now() + longest_silence));
  u8 ready = 0;
  if (::recv(socket_.get(), &ready, sizeof ready, 0) != sizeof ready) return does_not_move("whoever takes it has gone");
  began_ = Clock::now();
  TRY(live.begin(order_.has_value()));
  // Most of what it has written, and not flushed, need not be waited for while its guest stands still.
  TRY(disks_.sync());
  TRY(rounds(live));
  TRY(disks_.sync());
  stands_ = Clock::now();
  TRY(lifecycle_.stand_still());
  live_ = false;
  // Before its target has the last of what is sent, and takes them.
  TRY(disks_.give());
  TRY(finish(live));
  TRY(put_last());
  note_pause();
  page_.move()->pages_left = 0;
  page_.move_more()->epc_left = 0;
  const MutexLock held(lock_);
  page_.set_move_phase(MovePhase::sent);
  return {};
}

/// All that leaves before it is told to hold.
Mover::Done Mover::finish(hypervisor::LiveCopy& live) {
  if (!order_) return live.finish();
  TRY(live.finish_but_root());
  {
    const MutexLock held(lock_);
    out_ = true;
  }
  return sealer_->flush();
}

/// Whoever has them locked may be a target that has not come to an end yet; then its guest stands still until that has.
void Mover::take_disks_back() {
  std::string told;
  while (true) {
    const Done taken = disks_.take();
    if (taken) return;
    if (taken.error() != std::exchange(told, taken.error())) {
      log(LogLevel::warning, "domain-waits-for-disks", {{"domain", lifecycle_.name()}, {"error", taken.error()}});
      const MutexLock held(lock_);
      resumes_ = true;  // nobody has it hold any more
      lifecycle_.waits_for_disks();
      page_.wait_in_move(taken.error());
    }
    std::this_thread::sleep_for(between_glances);
  }
}

Mover::Done Mover::put_last() {
  TRY(put_piece());
  return put(stream::encode(u32{0}));
}

void Mover::note_pause() {
  page_.move()->pause_us = static_cast<u64>(std::chrono::duration_cast<microseconds>(Clock::now() - stands_).count());
}

/// From here on its enclaves come back by a token alone, if they do. What cannot be sent ends the stream: then its
/// target never has them, and says so.
void Mover::send_root(hypervisor::LiveCopy& live) {
  Done sent = live.finish_with_root(order_->session, left_);
  // It fits into a piece: nothing has waited for its place there.
  if (sent) sent = sealer_->finish();
  const MutexUnlock apart(lock_);
  if (sent) sent = put_last();
  note_pause();
  if (!sent) socket_ = Fd();
}

/// What a round has sent, and how long that took; of rounds that send too little to tell nothing is learnt.
class Mover::Speed {
 public:
  void learn(u64 pages, Clock::duration took) {
    if (pages < least) return;
    per_page_ = std::chrono::duration<double, std::micro>(took).count() / static_cast<double>(pages);
  }
  bool known() const { return per_page_ != 0; }
  double micros_for(u64 pages) const { return per_page_ * static_cast<double>(pages); }

 private:
  static constexpr u64 least = 16;
  double per_page_ = 0;
};

/// Until its guest would stand still for so long as it may, or in vain: a round that leaves as much as those before is
/// followed by few more.
Mover::Done Mover::rounds(hypervisor::LiveCopy& copy) {
  MoveCounts& counts = *page_.move();
  MoveMore& more = *page_.move_more();
  Speed ram, epc;
  u64 pages = copy.look(), epc_pages = copy.epc_left();
  const u64 downtime = u64{limits_.downtime_ms} * 1000;
  // With enclaves a root and two messages each way come behind what is estimated, and several files that are synced.
  const u64 behind = order_ ? std::min(downtime / 3, most_behind_us) : 0;
  u64 best = ~u64{0};
  u32 in_vain = 0;
  // Of EPC what is not in use, as long as that helps: what is used comes right back, and goes twice.
  bool hot = false, is_first = true;
  for (u32 round = 1;; ++round) {
    counts.round = round;
    more.epc_left = epc_pages;
    counts.pages_left = pages + epc_pages;
    const auto begins = Clock::now();
    const auto idle = idle_;
    const u64 sent = sent_;
    TRY(copy.send());
    TRY(put_piece());
    const auto between = Clock::now();
    const auto idle_between = idle_;
    ram.learn(pages, between - begins - (idle_between - idle));
    const u64 left_early = TRY(copy.send_epc(hot));
    TRY(put_piece());
    const auto now = Clock::now();
    epc.learn(left_early, now - between - (idle_ - idle_between));
    const u64 rate = bytes_per_second(sent_ - sent, now - begins - (idle_ - idle));
    pages = copy.look();
    epc_pages = copy.epc_left();
    more.epc_left = epc_pages;
    counts.pages_left = pages + epc_pages;
    counts.bytes_a_second = rate;
    counts.dirty_bytes_a_second = bytes_per_second(pages * arch::page_size, now - begins);
    const double epc_us = epc.known() ? epc.micros_for(epc_pages) : unknown_epc_us * static_cast<double>(epc_pages);
    const auto pause = static_cast<u64>(ram.micros_for(pages) + epc_us) + behind;
    counts.pause_us = pause;
    in_vain = pause < best - best / 10 ? 0 : in_vain + 1;
    best = std::min(best, pause);
    // What was used before the first round is not told from what is used all the time.
    hot = !std::exchange(is_first, false) && static_cast<u64>(epc_us) > downtime / 2;
    const StoodStill why = pause <= downtime                     ? StoodStill::near_enough
                           : in_vain == MoveLimits::most_in_vain ? StoodStill::no_nearer
                           : round == MoveLimits::most_rounds    ? StoodStill::most_rounds
                                                                 : StoodStill::not_yet;
    if (why == StoodStill::not_yet) continue;
    more.stood = static_cast<u32>(why);
    return {};
  }
}

Mover::Done Mover::wait_for(short events, Clock::time_point latest) {
  while (true) {
    if (lifecycle_.move_is_off()) return does_not_move("it was to go on, or to end");
    pollfd look{.fd = socket_.get(), .events = events, .revents = 0};
    const int ready = ::poll(&look, 1, static_cast<int>(between_glances.count()));
    if (ready > 0 && (look.revents & (POLLHUP | POLLERR)) != 0) return does_not_move("whoever takes it has gone");
    if (ready > 0) return {};
    if (Clock::now() >= latest) return does_not_move("whoever takes it says nothing");
  }
}

Mover::Done Mover::put(std::span<const u8> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (done < 0 && errno != EAGAIN && errno != EINTR) return does_not_move(std::strerror(errno));
    if (done < 0) {
      TRY(wait_for(POLLOUT));
      continue;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(done));
  }
  return {};
}

/// What fills a piece by itself is not copied.
Mover::Done Mover::add(std::span<const u8> bytes) {
  while (!bytes.empty()) {
    if (piece_.empty() && bytes.size() >= longest_piece) {
      TRY(put_piece(bytes.first(longest_piece)));
      bytes = bytes.subspan(longest_piece);
      continue;
    }
    const auto part = bytes.first(std::min<std::size_t>(bytes.size(), longest_piece - piece_.size()));
    piece_.insert(piece_.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
    if (piece_.size() == longest_piece) TRY(put_piece());
  }
  return {};
}

Mover::Done Mover::put_piece() {
  if (piece_.empty()) return {};
  TRY(put_piece(piece_));
  piece_.clear();
  return {};
}

Mover::Done Mover::put_piece(std::span<const u8> bytes) {
  if (lifecycle_.move_is_off()) return does_not_move("it was to go on, or to end");
  TRY(put(stream::encode(static_cast<u32>(bytes.size()))));
  TRY(put(bytes));
  sent_ += bytes.size();
  page_.move()->bytes += bytes.size();
  keep_to_bandwidth();
  return {};
}

void Mover::keep_to_bandwidth() {
  if (!live_ || limits_.bandwidth_mib == 0) return;
  const auto due = began_ + microseconds(sent_ * 1'000'000 / (u64{limits_.bandwidth_mib} << 20));
  const auto from = Clock::now();
  while (Clock::now() < due && !lifecycle_.move_is_off())
    std::this_thread::sleep_for(std::min<Clock::duration>(due - Clock::now(), between_glances));
  idle_ += Clock::now() - from;
}

void Mover::wait_for_word(hypervisor::LiveCopy& live) {
  bool root_sent = false;
  const MutexLock held(lock_);
  while (!resumes_) {
    // One that is ended while it may not run elsewhere yet goes on first.
    if (page_.move_phase() != MovePhase::held && (has_gone(socket_.get()) || lifecycle_.move_is_off())) {
      resumes_ = true;  // nobody has it hold any more
      return;
    }
    if (page_.move_phase() == MovePhase::held && out_ && !std::exchange(root_sent, true)) {
      send_root(live);
      continue;
    }
    changed_.wait_for(lock_, between_glances, [this]() CLOISTER_REQUIRES(lock_) { return resumes_; });
  }
}

Mover::Done Mover::hold(const std::string& session) {
  const MutexLock held(lock_);
  const MovePhase phase = page_.move_phase();
  if ((phase != MovePhase::sent && phase != MovePhase::held) || page_.move_session() != session || resumes_)
    return does_not_move("nothing of it is to be held");
  if (phase == MovePhase::sent && (has_gone(socket_.get()) || lifecycle_.move_is_off()))
    return does_not_move("it goes on");
  page_.set_move_phase(MovePhase::held);
  lifecycle_.in_doubt();
  changed_.notify_all();
  return {};
}

Mover::Done Mover::end(bool cancel, const std::optional<vmx::MoveToken>& token) {
  const MutexLock held(lock_);
  const MovePhase phase = page_.move_phase();
  if (cancel && phase == MovePhase::held)
    return does_not_move("it may run elsewhere by now: `cloister migrate --resolve` finds out");
  if (phase == MovePhase::none || phase == MovePhase::over) return does_not_move("it does not move");
  if (left_) {
    if (!token) return does_not_move("its enclaves have left: a token is wanted");
    if (Done back = domain_->take_enclaves_back(*token); !back) return back;
    out_ = left_ = false;
  }
  resume();
  return {};
}

void Mover::resume() {
  resumes_ = true;
  lifecycle_.cancel_move();
  changed_.notify_all();
  // What asks for its state next finds it going on.
  changed_.wait_for(lock_, most_patience, [this]() CLOISTER_REQUIRES(lock_) { return over_; });
}

Mover::Done Mover::start_over(const vmx::PlatformSecrets& secrets) {
  const MutexLock held(lock_);
  if (page_.move_phase() != MovePhase::held || !out_ || resumes_)
    return does_not_move("it has no enclaves that may be elsewhere");
  if (Done lost = domain_->give_enclaves_up(secrets); !lost) return lost;
  out_ = left_ = false;
  resume();
  return {};
}

}  // namespace cloister::toolstack
