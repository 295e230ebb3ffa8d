// Locks, finds its domains again, serves, waits for a signal.
#include "toolstack/daemon/daemon.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>

#include "toolstack/daemon/api.hpp"
#include "toolstack/host_epc.hpp"
#include "toolstack/log.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;

constexpr unsigned api_mode = 0660;

/// Held as long as this process lives, however it ends.
tl::expected<Fd, std::string> lock_folder(const DaemonPaths& paths) {
  std::error_code error;
  fs::create_directories(paths.run, error);
  if (error) return tl::unexpected("cannot make " + paths.run.string() + ": " + error.message());
  Fd fd(::open(paths.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return tl::unexpected("cannot open " + paths.lock().string() + ": " + std::strerror(errno));
  // A daemon that was killed while it started a VMM may hold it until that one's exec().
  for (int attempts = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++attempts) {
    if (attempts == 20) return tl::unexpected(paths.lock().string() + ": another cloisterd runs here");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return fd;
}

std::string vmm_beside_us() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path() / "cloister-vmm";
}

/// A domain takes a handful of descriptors.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

tl::expected<void, std::string> serve(const DaemonArguments& arguments, const sigset_t& signals) {
  const DaemonPaths paths{fs::absolute(arguments.state), fs::absolute(arguments.run)};
  const auto lock = lock_folder(paths);
  if (!lock) return tl::unexpected(lock.error());
  HostEpc host = host_epc(this_host());
  auto machine = load_machine(arguments.machine, [&] { return host; });
  if (!machine) return tl::unexpected(machine.error());
  const auto secret = platform_secret(paths.state);
  if (!secret) return tl::unexpected(secret.error());
  auto registry = Registry::open(paths);
  if (!registry) return tl::unexpected(registry.error());
  auto broker = Broker::create(std::move(*machine), *secret);
  if (!broker) return tl::unexpected(broker.error());
  const std::string vmm = arguments.vmm.empty() ? vmm_beside_us() : fs::absolute(arguments.vmm).string();
  auto domains = Domains::create(paths, std::move(*registry), std::move(*broker), vmm);
  if (!domains) return tl::unexpected(domains.error());
  auto socket = listen_at(paths.api_socket(), SOCK_STREAM, api_mode);
  if (!socket) return tl::unexpected(socket.error());

  const HttpServer server(std::move(*socket), api_handlers(**domains, std::move(host)));
  log(LogLevel::info, "ready",
      {{"socket", paths.api_socket()},
       {"machine", (*domains)->machine().origin},
       {"epc_pages", std::to_string((*domains)->epc().count.total)},
       {"domains", std::to_string((*domains)->list().size())}});
  // Of no effect unless a service manager started this process (sd_notify(3)).
  ::sd_notify(0, "READY=1");
  int number = 0;
  ::sigwait(&signals, &number);
  ::sd_notify(0, "STOPPING=1");
  log(LogLevel::info, "stopping", {{"signal", std::to_string(number)}});
  return {};
}

}  // namespace

int run_daemon(const DaemonArguments& arguments) {
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0027);
  raise_descriptor_limit();
  // Blocked in every thread, and waited for in this one.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const auto served = serve(arguments, signals);
  if (served) return 0;
  log(LogLevel::error, "failed", {{"error", served.error()}});
  return 1;
}

}  // namespace cloister::toolstack
