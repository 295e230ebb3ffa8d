// Each round reads a bounded part of each pipe, and rounds are a pause apart: a VMM that floods its pipe costs little.
#include "daemon/vmm_logs.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "host/threads.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::size_t round_bytes = 64 << 10;
/// A pipe's room (pipe(7)) is less than so many rounds.
constexpr int rounds_of_a_pipe = 32;
constexpr std::chrono::milliseconds pause_between_rounds(20);
/// How soon a count of lost lines is told when nothing else comes.
constexpr int lost_ms = 1000;

}  // namespace

tl::expected<LogPipe, std::string> make_log_pipe() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
    return tl::unexpected(std::string("no pipe for the domain's log: ") + std::strerror(errno));
  return LogPipe{.ours = Fd(ends[0]), .theirs = Fd(ends[1])};
}

tl::expected<std::unique_ptr<VmmLogs>, std::string> VmmLogs::create(Write write) {
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return tl::unexpected(std::string("no descriptors left"));
  std::unique_ptr<VmmLogs> logs(new VmmLogs(std::move(write), std::move(wake)));
  logs->thread_ = start_thread([raw = logs.get()] { raw->serve(); });
  return logs;
}

VmmLogs::~VmmLogs() {
  {
    const MutexLock held(lock_);
    stopping_ = true;
  }
  stop_.notify_all();
  ::eventfd_write(wake_.get(), 1);
  if (thread_.joinable()) thread_.join();
  for (const auto& [id, source] : sources_) finish(*source);
}

void VmmLogs::add(u32 id, const std::string& domain, Fd pipe) {
  const MutexLock held(lock_);
  if (const auto before = sources_.find(id); before != sources_.end()) before->second->pipe = Fd();
  sources_[id] = std::make_shared<Source>(Source{.id = id, .domain = domain, .pipe = std::move(pipe)});
  ::eventfd_write(wake_.get(), 1);
}

void VmmLogs::rename(u32 id, const std::string& domain) {
  const MutexLock held(lock_);
  if (const auto found = sources_.find(id); found != sources_.end()) found->second->domain = domain;
}

void VmmLogs::remove(u32 id) {
  const MutexLock held(lock_);
  const auto found = sources_.find(id);
  if (found == sources_.end()) return;
  finish(*found->second);
  found->second->pipe = Fd();  // at once, though serve() may still know the source
  sources_.erase(found);
  ::eventfd_write(wake_.get(), 1);
}

void VmmLogs::tell_lost(Source& source) {
  if (const u64 lost = source.limit.take_lost(); lost != 0)
    write_(vmm_line("level=warning event=lines-suppressed times=" + std::to_string(lost), source.domain, source.id));
}

void VmmLogs::take(Source& source, std::string_view line) {
  if (!source.limit.admit(LineLimit::Clock::now())) return source.limit.lose();
  tell_lost(source);
  write_(vmm_line(line, source.domain, source.id));
}

/// False: nothing more is there, or ever comes.
bool VmmLogs::read_once(Source& source) {
  std::array<char, round_bytes> bytes;
  const ssize_t got = ::read(source.pipe.get(), bytes.data(), bytes.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) {
    source.pipe = Fd();
    return false;
  }
  source.lines.feed(std::span(bytes).first(static_cast<std::size_t>(got)),
                    [&](std::string_view line) CLOISTER_REQUIRES(lock_) { take(source, line); });
  return true;
}

void VmmLogs::finish(Source& source) {
  for (int round = 0; round < rounds_of_a_pipe && read_once(source); ++round) {
  }
  source.lines.finish([&](std::string_view line) CLOISTER_REQUIRES(lock_) { take(source, line); });
  tell_lost(source);
}

void VmmLogs::serve() {
  const MutexLock held(lock_);
  while (!stopping_) {
    std::vector<pollfd> set{{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    std::vector<std::shared_ptr<Source>> polled;
    bool lost = false;
    for (const auto& [id, source] : sources_) {
      lost = lost || source->limit.lost() != 0;
      set.push_back({.fd = source->pipe.get(), .events = POLLIN, .revents = 0});
      polled.push_back(source);
    }
    int ready = 0;
    {
      const MutexUnlock apart(lock_);
      ready = ::poll(set.data(), set.size(), lost ? lost_ms : -1);
    }
    eventfd_t count = 0;
    if (set[0].revents != 0) ::eventfd_read(wake_.get(), &count);
    for (std::size_t i = 0; i < polled.size(); ++i) {
      Source& source = *polled[i];
      const auto found = sources_.find(source.id);
      if (found == sources_.end() || found->second != polled[i]) continue;
      if (set[i + 1].revents != 0) read_once(source);
      if (ready == 0 && source.limit.lost() != 0 && source.limit.admit(LineLimit::Clock::now())) tell_lost(source);
    }
    stop_.wait_for(lock_, pause_between_rounds, [this]() CLOISTER_REQUIRES(lock_) { return stopping_; });
  }
}

}  // namespace cloister::toolstack
