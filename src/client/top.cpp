// `cloister top`: domains and the machine's EPC, again and again, with processor time and speed since the last look.
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <optional>
#include <thread>

#include "arch/sizes.hpp"
#include "arch/try.hpp"
#include "client/api.hpp"
#include "client/client.hpp"
#include "host/exit_status.hpp"
#include "host/terminal.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::client {
namespace {

/// What a domain had used at the last look.
struct Used {
  double cpu_seconds = 0;
  u64 instructions = 0;
};

class Screen {
 public:
  explicit Screen(const std::string& run_folder) : api_(run_folder) {}

  /// The next picture.
  Answer<std::string> look() {
    const auto epc = TRY(api_.get("/v1/epc"));
    const auto domains = TRY(api_.get("/v1/domains"));
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - last_look_).count();
    std::string text =
        fmt::format("cloister  {} domain{}  EPC {} MiB, {} MiB free, {} pages withdrawn\n\n", domains.size(),
                    domains.size() == 1 ? "" : "s", epc.value("total_pages", u64{0}) / arch::pages_per_mib,
                    epc.value("free_pages", u64{0}) / arch::pages_per_mib, epc.value("withdrawn_pages", u64{0}));
    Table table({">ID", "NAME", "STATE", ">VCPUS", ">MEM(MiB)", ">EPC(MiB)", ">CPU(%)", ">MIPS", ">CPU TIME(s)"});
    std::map<u64, Used> used;
    for (const Json& domain : domains) {
      const u64 id = domain.value("id", u64{0});
      const Used present{domain.value("cpu_seconds", 0.0), domain.value("instructions", u64{0})};
      const auto before = used_.find(id);
      const bool known = before != used_.end() && seconds > 0 && present.instructions >= before->second.instructions;
      const double cpu = known ? 100 * (present.cpu_seconds - before->second.cpu_seconds) / seconds : 0;
      const double mips =
          known ? static_cast<double>(present.instructions - before->second.instructions) / seconds / 1e6 : 0;
      table.add({std::to_string(id), domain.value("name", ""), domain.value("state", ""),
                 std::to_string(domain.value("vcpus", u64{0})), std::to_string(domain.value("memory_mib", u64{0})),
                 std::to_string(domain.value("epc_mib", u64{0})), fmt::format("{:.1f}", cpu),
                 fmt::format("{:.1f}", mips), fmt::format("{:.1f}", present.cpu_seconds)});
      used[id] = present;
    }
    used_ = std::move(used);
    last_look_ = now;
    return text + table.text();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Api api_;
  Clock::time_point last_look_ = Clock::now();
  std::map<u64, Used> used_;
};

/// Waits, and says whether q, Ctrl-C or Ctrl-] was pressed meanwhile.
bool quit_pressed(double seconds) {
  pollfd keyboard{STDIN_FILENO, POLLIN, 0};
  if (::poll(&keyboard, 1, static_cast<int>(seconds * 1000)) <= 0) return false;
  char key = 0;
  return ::read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 3 || key == escape_key;
}

}  // namespace

int top(const Common& common, const TopArguments& arguments) {
  constexpr std::string_view other_screen = "\x1b[?1049h", first_screen = "\x1b[?1049l", clear = "\x1b[H\x1b[2J";
  const auto put = [](std::string_view text) { return toolstack::print(text); };
  const bool on_screen = ::isatty(STDOUT_FILENO) != 0;
  std::optional<RawTerminal> terminal;
  if (on_screen) terminal.emplace(STDIN_FILENO, other_screen, first_screen);
  const bool live = terminal && terminal->active();
  Screen screen(common.run_folder);
  int status = 0;
  std::string message;
  for (unsigned i = 0; arguments.iterations == 0 || i < arguments.iterations; ++i) {
    const auto picture = screen.look();
    if (!picture) {
      message = picture.error().message;
      status = picture.error().exit_status;
      break;
    }
    if (live) put(clear);
    if (!put(*picture)) {
      status = exit_status::failed;
      break;
    }
    if (i + 1 == arguments.iterations) break;
    if (!live) {
      std::this_thread::sleep_for(std::chrono::duration<double>(arguments.delay_seconds));
      put("\n");
    } else if (quit_pressed(arguments.delay_seconds)) {
      break;
    }
  }
  terminal.reset();
  if (!message.empty()) spdlog::error("{}", message);
  return status;
}

}  // namespace cloister::toolstack::client
