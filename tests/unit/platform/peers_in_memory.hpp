// Peers whose programs are the test's.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/mutex.hpp"
#include "platform/virtio/peers.hpp"

namespace cloister::platform::virtio {

class PeersInMemory final : public Peers {
 public:
  /// A program: what it has sent, and what it was sent.
  struct Program {
    std::string sends, heard;
    std::size_t room = ~std::size_t{0};  ///< that it has for more
    u32 port = 0;                        ///< by which it was answered
    bool sends_no_more = false, hears_no_more = false, has_gone = false;
    bool told_end = false, closed = false;
  };
  using Pointer = std::shared_ptr<Program>;

  std::optional<Call> next_call() override {
    if (calls.empty()) return std::nullopt;
    auto [program, port] = calls.front();
    calls.pop_front();
    return Call{std::make_unique<Stream>(program), port};
  }
  std::optional<u32> ask(u32 port) override {
    if (deaf) return std::nullopt;
    asked.push_back(port);
    if (answers_at_once) answer(static_cast<u32>(asked.size()));
    return static_cast<u32>(asked.size());
  }
  /// The question of this number, from 1 on.
  void answer(u32 number) {
    const auto found = listening.find(asked[number - 1]);
    answers_.push_back({number, found == listening.end() ? nullptr : std::make_unique<Stream>(found->second)});
  }
  std::optional<Answer> next_answer() override {
    if (answers_.empty()) return std::nullopt;
    Answer answer = std::move(answers_.front());
    answers_.pop_front();
    return answer;
  }
  void wait(Wait how) override {
    ++waits;
    if (how == Wait::for_a_look) return;
    const MutexLock held(lock_);
    changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return woken_; });
    woken_ = false;
  }
  void wake() override {
    const MutexLock held(lock_);
    woken_ = true;
    changed_.notify_all();
  }
  Pointer call(u32 port) {
    calls.emplace_back(std::make_shared<Program>(), port);
    return calls.back().first;
  }
  Pointer listen(u32 port) { return listening[port] = std::make_shared<Program>(); }

  std::deque<std::pair<Pointer, u32>> calls;
  std::map<u32, Pointer> listening;
  std::vector<u32> asked;
  bool deaf = false, answers_at_once = true;
  std::atomic<unsigned> waits = 0;

 private:
  class Stream final : public Peer {
   public:
    explicit Stream(Pointer program) : program_(std::move(program)) {}
    ~Stream() override { program_->closed = true; }
    bool ready() const override { return !program_->sends.empty() || program_->sends_no_more || program_->has_gone; }
    std::optional<std::size_t> receive(std::span<std::byte> to) override {
      std::string& from = program_->sends;
      const std::size_t bytes = from.copy(reinterpret_cast<char*>(to.data()), to.size());
      from.erase(0, bytes);
      if (bytes == 0 && (program_->sends_no_more || program_->has_gone)) return std::nullopt;
      return bytes;
    }
    std::optional<std::size_t> send(std::span<const std::byte> from) override {
      if (program_->hears_no_more || program_->has_gone) return std::nullopt;
      const std::size_t bytes = std::min(from.size(), program_->room);
      program_->room -= bytes;
      program_->heard.append(reinterpret_cast<const char*>(from.data()), bytes);
      return bytes;
    }
    void end_sending() override { program_->told_end = true; }
    bool gone() const override { return program_->has_gone; }
    bool answered(u32 host_port) override {
      program_->port = host_port;
      return !program_->has_gone;
    }
    void want(const Wants&) override {}

   private:
    const Pointer program_;
  };

  std::deque<Answer> answers_;
  Mutex lock_;
  Condition changed_;
  bool woken_ CLOISTER_GUARDED_BY(lock_) = false;
};

}  // namespace cloister::platform::virtio
