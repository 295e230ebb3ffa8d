// A pidfd first, then the look at /proc: what it shows after that is this process, or nothing.
#include "daemon/process_identity.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>

#include "host/pidfd.hpp"
#include "host/whole_file.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view title_start = "cloister-vmm of domain";

std::optional<std::string> text_of(const std::string& path) {
  const auto bytes = read_within(path, longest_text);
  if (!bytes) return std::nullopt;
  return std::string(bytes->begin(), bytes->end());
}

std::optional<std::string> boot_id() {
  if (const char* const told = ::secure_getenv("CLOISTER_TEST_BOOT_ID"); told != nullptr && *told != 0) return told;
  auto text = text_of("/proc/sys/kernel/random/boot_id");
  if (!text) return std::nullopt;
  while (!text->empty() && text->back() == '\n') text->pop_back();
  if (text->empty()) return std::nullopt;
  return text;
}

u64 pid_namespace() {
  struct stat status {};
  return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

/// "PID (NAME) STATE …": the name may hold anything, and the last ')' ends it.
struct Stat {
  std::string name;
  bool ended = false;  ///< a zombie
  u64 start = 0;       ///< field 22
};
std::optional<Stat> stat_of(const std::string& pid) {
  constexpr int start_field = 22, first_after_name = 3;
  const auto text = text_of("/proc/" + pid + "/stat");
  if (!text) return std::nullopt;
  const std::size_t open = text->find('('), close = text->rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return std::nullopt;
  Stat stat{.name = text->substr(open + 1, close - open - 1)};
  std::size_t at = close + 2;
  stat.ended = at < text->size() && ((*text)[at] == 'Z' || (*text)[at] == 'X');
  for (int field = first_after_name; field < start_field; ++field) {
    at = text->find(' ', at);
    if (at == std::string::npos) return std::nullopt;
    ++at;
  }
  const auto [end, error] = std::from_chars(text->data() + at, text->data() + text->size(), stat.start);
  if (error != std::errc()) return std::nullopt;
  return stat;
}

bool has_ended(int pidfd) {
  pollfd wait{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, 0) > 0;
}

}  // namespace

std::optional<HostStart> host_start() {
  auto boot = boot_id();
  if (!boot) return std::nullopt;
  HostStart start{.boot = std::move(*boot), .pid_namespace = pid_namespace()};
  if (const auto first = stat_of("1")) start.first_process = first->start;
  return start;
}

bool same_start(const HostStart& one, const HostStart& other) {
  return one.boot == other.boot &&
         (one.pid_namespace == 0 || other.pid_namespace == 0 || one.pid_namespace == other.pid_namespace) &&
         (!one.first_process || !other.first_process || one.first_process == other.first_process);
}

HostStart joined(const HostStart& now, const HostStart& before) {
  HostStart both = now;
  if (both.pid_namespace == 0) both.pid_namespace = before.pid_namespace;
  if (!both.first_process) both.first_process = before.first_process;
  return both;
}

std::optional<ProcessIdentity> identity_of(int pid) {
  auto now = host_start();
  const auto stat = stat_of(std::to_string(pid));
  if (!now || !stat) return std::nullopt;
  return ProcessIdentity{
      .pid = pid, .start = stat->start, .boot = std::move(now->boot), .pid_namespace = now->pid_namespace};
}

tl::expected<Fd, Absence> open_process(const ProcessIdentity& process) {
  const auto here = host_start();
  if (!here) return tl::unexpected(Absence::unknown);
  // Another namespace's processes end with it, and a daemon in one of its own can see none of those outside.
  if (!same_start(*here, {.boot = process.boot, .pid_namespace = process.pid_namespace}))
    return tl::unexpected(Absence::dead);
  Fd pidfd(::pidfd_open(process.pid, 0));
  if (!pidfd) return tl::unexpected(errno == ESRCH ? Absence::dead : Absence::unknown);
  const auto now = stat_of(std::to_string(process.pid));
  // A zombie has given its memory back.
  if (has_ended(pidfd.get())) return tl::unexpected(Absence::dead);
  if (!now) return tl::unexpected(Absence::unknown);
  if (now->start != process.start) return tl::unexpected(Absence::dead);
  return pidfd;
}

std::string vmm_title(u32 id, int state_folder) {
  struct stat status {};
  ::fstat(state_folder, &status);
  return fmt::format("{} {} state={}:{}", title_start, id, status.st_dev, status.st_ino);
}

bool may_have_vmm(const std::string& program, const std::string& title) {
  constexpr std::size_t longest_name = 15;  // TASK_COMM_LEN, less its end
  const std::string name = fs::path(program).filename().string().substr(0, longest_name);
  // Of all, the first process is the one that a /proc with hidepid does not show.
  if (!stat_of("1")) return true;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string pid = entry->path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto stat = stat_of(pid);
    if (!stat || stat->name != name || stat->ended) continue;
    const std::string line = text_of("/proc/" + pid + "/cmdline").value_or("");
    const std::string found = line.substr(0, line.find('\0'));
    if (found == title || !found.starts_with(title_start)) return true;
  }
  return static_cast<bool>(error);
}

}  // namespace cloister::toolstack
