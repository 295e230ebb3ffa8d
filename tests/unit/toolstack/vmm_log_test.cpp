// What VMMs write into the daemon's log: lines, hostile bytes, floods, and pipes whose other end does not read.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "daemon/vmm_logs.hpp"
#include "host/pipe_sink.hpp"

namespace cloister::toolstack {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

constexpr const char* good =
    "time=2026-01-02T03:04:05.678Z level=error program=cloister-vmm event=guest-ended domain=other id=9 ending=crashed "
    "report=\"a \\\"b\\\" \\\\ c\"";

TEST(VmmLine, KeepsItsFieldsAndSaysWhoseItIs) {
  const VmmLine line = vmm_line(good, "dom", 7);
  EXPECT_EQ(line.level, LogLevel::error);
  EXPECT_EQ(line.fields, "event=guest-ended domain=dom id=7 ending=crashed report=\"a \\\"b\\\" \\\\ c\"");
}

TEST(VmmLine, IsAFieldIfItIsNoLine) {
  const std::string event = "event=vmm-output domain=dom id=7 text=";
  const std::pair<std::string, std::string> lines[] = {
      {"Assertion failed", "\"Assertion failed\""},
      {"event=x", "\"event=x\""},
      {"level=info other=x", "\"level=info other=x\""},
      {"level=fatal event=x", "\"level=fatal event=x\""},
      {"level=info event=x more", "\"level=info event=x more\""},
      {"level=info  event=x", "\"level=info  event=x\""},
      {"level=info event=x y=", "\"level=info event=x y=\""},
      {"level=info event=x y=a=b", "\"level=info event=x y=a=b\""},
      {"level=info event=x y=\"z", "\"level=info event=x y=\\\"z\""},
      {"level=info event=x y=\"z\\", "\"level=info event=x y=\\\"z\\\\\""},
      {"level=info event=x y=\"z\"w", "\"level=info event=x y=\\\"z\\\"w\""},
      {"level=info event=x y=\"\x1b[2J\"", "\"level=info event=x y=\\\"\\\\x1b[2J\\\"\""},
      {std::string("level=info event=x\0", 19), "\"level=info event=x\\\\x00\""},
      {"level=info event=x\r", "\"level=info event=x\\\\x0d\""},
  };
  for (const auto& [text, shown] : lines) {
    const VmmLine line = vmm_line(text, "dom", 7);
    EXPECT_EQ(line.fields, event + shown);
    EXPECT_EQ(line.level, LogLevel::warning);
  }
}

TEST(VmmLine, HasNoByteThatATerminalWouldObey) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string c(1, static_cast<char>(byte));
    for (const std::string& text :
         {c, "level=info event=x y=" + c, "level=info event=x y=\"" + c + "\"", "e" + c + "=1"}) {
      for (const char out : vmm_line(text, "dom", 7).fields) EXPECT_TRUE(out >= 0x20 && out < 0x7f) << byte;
    }
  }
}

std::vector<std::string> lines_of(std::initializer_list<std::string> parts) {
  std::vector<std::string> lines;
  LineReader reader;
  const auto take = [&](std::string_view line) { lines.emplace_back(line); };
  for (const std::string& part : parts) reader.feed(part, take);
  reader.finish(take);
  return lines;
}

TEST(LineReader, PutsPartsTogether) {
  EXPECT_THAT(lines_of({"on", "e\ntw", "o\n\n\nthree"}), ElementsAre("one", "two", "three"));
}

TEST(LineReader, CutsWhatHasNoEnd) {
  const std::string block(64 << 10, 'x');
  const auto lines = lines_of({block, block, block, "y\nz"});
  EXPECT_THAT(lines, ElementsAre(std::string(LineReader::longest_line, 'x'), "z"));
}

TEST(LineLimit, TakesSomeAtOnceAndThenOneInAWhile) {
  LineLimit limit;
  LineLimit::Clock::time_point now{1h};
  const auto admitted = [&](int tries) {
    int count = 0;
    for (int i = 0; i < tries; ++i) count += limit.admit(now) ? 1 : 0;
    return count;
  };
  EXPECT_EQ(admitted(100'000), LineLimit::at_once);
  now += 10 * LineLimit::then_every;
  EXPECT_EQ(admitted(100'000), 10);
  now += 1h;
  EXPECT_EQ(admitted(100'000), LineLimit::at_once);
}

// ---- the daemon's end

class Logs : public testing::Test {
 protected:
  Logs() {
    auto logs = VmmLogs::create([this](const VmmLine& line) {
      const std::scoped_lock held(lock_);
      lines_.push_back(line.fields);
    });
    EXPECT_TRUE(logs);
    logs_ = std::move(*logs);
  }
  Fd add(u32 id, const std::string& domain) {
    auto pipe = make_log_pipe();
    EXPECT_TRUE(pipe);
    logs_->add(id, domain, std::move(pipe->ours));
    return std::move(pipe->theirs);
  }
  std::vector<std::string> lines() {
    const std::scoped_lock held(lock_);
    return lines_;
  }
  std::size_t wait_for_lines(std::size_t count) {
    for (int attempts = 0; attempts < 3000 && lines().size() < count; ++attempts) std::this_thread::sleep_for(10ms);
    return lines().size();
  }

  std::mutex lock_;
  std::vector<std::string> lines_;
  std::unique_ptr<VmmLogs> logs_;
};

TEST_F(Logs, TellsWhoseALineIs) {
  const Fd one = add(1, "one"), two = add(2, "two");
  ASSERT_TRUE(write_all(one.get(), std::span(reinterpret_cast<const u8*>("level=info event=a\n"), 19)));
  ASSERT_EQ(wait_for_lines(1), 1u);
  logs_->rename(2, "zwei");
  ASSERT_TRUE(write_all(two.get(), std::span(reinterpret_cast<const u8*>("level=info event=b\nrest"), 23)));
  ASSERT_EQ(wait_for_lines(2), 2u);
  logs_->remove(2);  // the rest of a dead one
  EXPECT_THAT(lines(), ElementsAre("event=a domain=one id=1", "event=b domain=zwei id=2",
                                   "event=vmm-output domain=zwei id=2 text=rest"));
}

TEST_F(Logs, WritesWhatADeadOneLeft) {
  {
    const Fd one = add(1, "one");
    ASSERT_EQ(::write(one.get(), "level=info event=a\nlast words", 29), 29);
  }
  logs_->remove(1);
  EXPECT_THAT(lines(), ElementsAre("event=a domain=one id=1", "event=vmm-output domain=one id=1 text=\"last words\""));
}

TEST_F(Logs, CountsAFloodAndServesOthers) {
  const Fd flood = add(1, "flood"), other = add(2, "other");
  std::string block;
  while (block.size() < 4000) block += "level=info event=x\n";
  std::size_t written = 0;
  const std::size_t goal = 1 << 20;
  while (written < goal) {
    const ssize_t got = ::write(flood.get(), block.data(), block.size());
    if (got > 0) written += static_cast<std::size_t>(got);
    if (got < 0) std::this_thread::sleep_for(1ms);
  }
  ASSERT_EQ(::write(other.get(), "level=info event=y\n", 19), 19);
  for (int i = 0; i < 3000 && !testing::Value(lines(), testing::Contains("event=y domain=other id=2")); ++i)
    std::this_thread::sleep_for(10ms);
  EXPECT_THAT(lines(), testing::Contains("event=y domain=other id=2"));
  logs_->remove(1);
  std::size_t told = 0, lost = 0;
  for (const std::string& line : lines()) {
    told += line == "event=x domain=flood id=1" ? 1u : 0u;
    constexpr std::string_view start = "event=lines-suppressed domain=flood id=1 times=";
    if (line.starts_with(start)) lost += std::stoul(line.substr(start.size()));
  }
  EXPECT_GE(told, static_cast<std::size_t>(LineLimit::at_once));
  EXPECT_GT(lost, told);
}

// ---- the VMM's end

struct PipeLog {
  PipeLog() {
    ::signal(SIGPIPE, SIG_IGN);
    auto made = make_log_pipe();
    EXPECT_TRUE(made);
    pipe = std::move(*made);
    logger.emplace("vmm", std::make_shared<PipeSink>(pipe.theirs.get()));
    logger->set_pattern("%l %v");
  }
  /// All that is there.
  std::string read() const {
    std::string text;
    char bytes[4096];
    for (ssize_t got; (got = ::read(pipe.ours.get(), bytes, sizeof bytes)) > 0;)
      text.append(bytes, static_cast<std::size_t>(got));
    return text;
  }
  LogPipe pipe;
  std::optional<spdlog::logger> logger;
};

TEST(PipeSink, CountsWhatAFullPipeDoesNotTake) {
  PipeLog log;
  const std::string line(4000, 'x');
  for (int i = 0; i < 20; ++i) log.logger->info(line);  // more than a pipe's 64 KiB
  const std::string before = log.read();
  log.logger->info("after");
  const std::string text = before + log.read();
  EXPECT_THAT(text, testing::EndsWith("info after\n"));
  // A note of lost lines may still find room where a line does not.
  int written = 0, lost = 0;
  std::istringstream lines(text);
  for (std::string got; std::getline(lines, got);) {
    const std::string note = "warning event=lines-suppressed times=";
    if (got == "info " + line) {
      ++written;
    } else if (got.starts_with(note)) {
      lost += std::stoi(got.substr(note.size()));
    } else {
      EXPECT_EQ(got, "info after");
    }
  }
  EXPECT_EQ(written, 16);
  EXPECT_EQ(lost, 4);
}

TEST(PipeSink, CountsWhatNobodyReads) {
  PipeLog log;
  log.pipe.ours = Fd();
  for (int i = 0; i < 3; ++i) log.logger->info("lost");
  auto next = make_log_pipe();
  ASSERT_TRUE(next);
  ASSERT_GE(::dup3(next->theirs.get(), log.pipe.theirs.get(), O_CLOEXEC), 0);
  log.pipe.ours = std::move(next->ours);
  log.logger->info("after");
  EXPECT_EQ(log.read(), "warning event=lines-suppressed times=3\ninfo after\n");
}

TEST(PipeSink, EndsALineThatWasTorn) {
  PipeLog log;
  log.logger->info(std::string(100'000, 'x'));
  const std::string torn = log.read();
  EXPECT_LT(torn.size(), 100'000u);
  log.logger->info("after");
  EXPECT_EQ(log.read(), "\nwarning event=lines-suppressed times=1\ninfo after\n");
}

TEST(PipeSink, LimitsAFlood) {
  PipeLog log;
  for (int i = 0; i < 1000; ++i) log.logger->info("x");
  const std::string text = log.read();
  EXPECT_LT(std::ranges::count(text, '\n'), 1000);
  EXPECT_GE(std::ranges::count(text, '\n'), LineLimit::at_once);
}

}  // namespace
}  // namespace cloister::toolstack
