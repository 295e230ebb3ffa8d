// Writers and typists who are not kept by readers that do not read.
#include "host/stoppable_write.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "host/files.hpp"
#include "host/held_keys.hpp"
#include "host/terminal.hpp"

namespace cloister::toolstack {
namespace {

struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    reader = Fd(ends[0]);
    writer = Fd(ends[1]);
  }
  Fd reader, writer;
};

const std::vector<u8> much(1 << 20, 'x');

TEST(StoppableWrite, WritesAllToWhoeverReads) {
  Pipe pipe;
  std::size_t got = 0;
  std::thread reader([&] {
    std::array<u8, 1000> bytes;
    while (got < much.size()) got += static_cast<std::size_t>(::read(pipe.reader.get(), bytes.data(), bytes.size()));
  });
  EXPECT_EQ(write_unless([] { return false; }, pipe.writer.get(), much), Written::all);
  reader.join();
  EXPECT_EQ(got, much.size());
}

TEST(StoppableWrite, ComesBackFromAFullPipeThatStaysBlocking) {
  const Pipe pipe;
  int asked = 0;
  const auto third = [&asked] { return ++asked == 3; };
  EXPECT_EQ(write_unless(third, pipe.writer.get(), much), Written::given_up);
  EXPECT_EQ(::fcntl(pipe.writer.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST(StoppableWrite, SaysWhyItFailed) {
  ::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  { const Fd closed = std::move(pipe.reader); }
  EXPECT_EQ(write_unless([] { return false; }, pipe.writer.get(), much), Written::failed);
  EXPECT_EQ(errno, EPIPE);
}

TEST(HeldKeys, AreBoundedAndInOrder) {
  const Pipe pipe;
  ::fcntl(pipe.writer.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(pipe.writer.get(), F_SETPIPE_SZ, 4096);
  HeldKeys held;
  held.add(std::vector<u8>(HeldKeys::most - 1, 'a'));
  held.add(std::vector<u8>{'b', 'c'});
  EXPECT_EQ(held.room(), 0u);
  std::string got;
  while (!held.empty()) {
    ASSERT_TRUE(held.write_to(pipe.writer.get())) << "a full pipe is no failure, and not waited for";
    std::array<char, 4096> bytes;
    got.append(bytes.data(), static_cast<std::size_t>(::read(pipe.reader.get(), bytes.data(), bytes.size())));
  }
  EXPECT_EQ(got, std::string(HeldKeys::most - 1, 'a') + "b") << "c is left out";
}

/// A terminal: the end that a person types at, and the program's.
struct Terminal {
  Terminal() : keyboard(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    EXPECT_EQ(::grantpt(keyboard.get()) | ::unlockpt(keyboard.get()), 0);
    program = Fd(::open(::ptsname(keyboard.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios mode{};
    ::tcgetattr(program.get(), &mode);
    ::cfmakeraw(&mode);
    ::tcsetattr(program.get(), TCSANOW, &mode);
  }
  Fd keyboard, program;
};

TEST(KeyPump, SeesCtrlBracketAfterMoreKeysThanAnybodyTakes) {
  const Terminal terminal;
  StopSource stop;
  const KeyPump pump(terminal.program.get(), stop);
  const std::vector<u8> keys(200'000, 'x');
  ASSERT_TRUE(write_all(terminal.keyboard.get(), keys));
  EXPECT_FALSE(stop.flag());
  ASSERT_TRUE(write_all(terminal.keyboard.get(), std::vector<u8>{escape_key}));
  while (!stop.flag()) std::this_thread::yield();
  std::vector<u8> got(100);
  EXPECT_EQ(::read(pump.keys(), got.data(), got.size()), 100) << "what there was room for is still to be read";
}

TEST(KeyPump, EndsWhileKeysWaitForTheirReader) {
  const Terminal terminal;
  StopSource stop;
  const KeyPump pump(terminal.program.get(), stop);
  ASSERT_TRUE(write_all(terminal.keyboard.get(), std::vector<u8>(100'000, 'x')));
}

/// poll(2) may call a terminal readable whose read(2) then waits: here for a second key, elsewhere for the end of a
/// line, if a shell has taken the terminal back in between.
TEST(KeyPump, EndsWhileATerminalWaitsForMoreThanAKey) {
  const Terminal terminal;
  termios mode{};
  ::tcgetattr(terminal.program.get(), &mode);
  mode.c_cc[VMIN] = 2;
  mode.c_cc[VTIME] = 255;  // 25.5 s for the second one
  ::tcsetattr(terminal.program.get(), TCSANOW, &mode);
  StopSource stop;
  std::optional<KeyPump> pump(std::in_place, terminal.program.get(), stop);
  ASSERT_TRUE(write_all(terminal.keyboard.get(), std::vector<u8>{'x'}));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // into its read
  const auto begin = std::chrono::steady_clock::now();
  pump.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace cloister::toolstack
