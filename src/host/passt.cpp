// It goes to the background by itself, once it is ready: the process that is started ends then, and what is left has
// namespaces of its own.
#include "host/passt.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>
#include <thread>

#include "arch/try.hpp"
#include "host/pidfd.hpp"
#include "host/process.hpp"

namespace cloister::toolstack {

namespace {

constexpr const char passt_program[] = "/usr/bin/passt";
constexpr int connection = 3, patience_ms = 10'000;
/// The port of a domain that has just ended is free once its passt has seen that.
constexpr int tries = 10;
constexpr std::chrono::milliseconds between_tries{100};

tl::unexpected<std::string> failed(const std::string& why) { return tl::unexpected("passt: " + why); }
tl::unexpected<std::string> failed() { return failed(std::strerror(errno)); }

/// What it says of what went wrong: the last of its lines that is about that.
std::string last_words(int from) {
  std::array<char, 4096> text{};
  const ssize_t bytes = ::read(from, text.data(), text.size());
  std::string_view rest(text.data(), static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
  std::string last;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.starts_with("Usage: ")) break;
    if (!line.empty() && !line.starts_with("Failed to send ") && !line.starts_with("Don't run as root")) last = line;
  }
  return last;
}

tl::expected<Fd, std::string> start(const std::vector<std::string>& words) {
  int ends[2], pipe_ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return failed();
  Fd ours(ends[0]), theirs(ends[1]);
  if (::pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) != 0) return failed();
  const Fd said(pipe_ends[0]), says(pipe_ends[1]);
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) return failed();

  const int descriptors[] = {nothing.get(), nothing.get(), says.get(), theirs.get()};
  const auto process = spawn(passt_program, words, descriptors);
  if (!process) return tl::unexpected(process.error());
  theirs = Fd();
  const bool in_time = wait_for_end(process->pidfd.get(), patience_ms);
  if (!in_time) {
    ::pidfd_send_signal(process->pidfd.get(), SIGKILL, nullptr, 0);
    wait_for_end(process->pidfd.get(), patience_ms);
  }
  const std::string how = reap(process->pidfd.get());
  if (!in_time) return failed("it does not start");
  if (how == "exit status 0") return ours;
  std::string why = last_words(said.get());
  if (why == "External interface not usable") why += ": there is none with a default route";
  return failed(why.empty() ? how : why);
}

}  // namespace

tl::expected<Fd, std::string> start_passt(const std::vector<std::string>& arguments) {
  if (::access(passt_program, X_OK) != 0)
    return failed(std::string(passt_program) + ": " + std::strerror(errno) + "; Debian's package is called passt");
  std::vector<std::string> words{"passt", "--quiet", "--fd", std::to_string(connection)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  auto started = start(words);
  for (int i = 0; i < tries && !started && started.error().find("Failed to bind") != std::string::npos; ++i) {
    std::this_thread::sleep_for(between_tries);
    started = start(words);
  }
  return started;
}

}  // namespace cloister::toolstack
