// Opens and locks its folders, finds its domains again, serves, waits for a signal.
#include "daemon/daemon.hpp"

#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <filesystem>

#include "arch/try.hpp"
#include "daemon/api.hpp"
#include "daemon/autostart.hpp"
#include "daemon/secrets.hpp"
#include "daemon/transfers.hpp"
#include "host/log.hpp"
#include "host/own_folder.hpp"
#include "machine/host_epc.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;

constexpr unsigned api_mode = 0660, run_mode = 0750;

std::string beside_us(const char* program) {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path() / program;
}

/// Of the program that every domain needs: better now than at the first creation.
tl::expected<void, std::string> check_vmm(const std::string& vmm) {
  struct stat status {};
  if (::stat(vmm.c_str(), &status) != 0) return tl::unexpected("cannot use " + vmm + ": " + std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return tl::unexpected("cannot use " + vmm + ": not a regular file");
  if (::access(vmm.c_str(), X_OK) != 0) return tl::unexpected("cannot use " + vmm + ": " + std::strerror(errno));
  return {};
}

sigset_t set_of(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : numbers) sigaddset(&set, number);
  return set;
}

/// SIGTERM or SIGINT. Of SIGHUP nothing follows: what this process was started with is what domains were made of.
int wait_for_signal() {
  const sigset_t signals = set_of({SIGTERM, SIGINT, SIGHUP});
  int number = 0;
  while (::sigwait(&signals, &number) != 0 || number == SIGHUP) {
    if (number == SIGHUP) log(LogLevel::info, "nothing-to-reload", {{"signal", std::to_string(number)}});
  }
  return number;
}

bool lies_in(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

/// Each folder has files of its own, of which the daemon knows the names; the one may be beside those of the other.
tl::expected<void, std::string> check_apart(const DaemonPaths& paths) {
  const auto real = [](const fs::path& path) {
    std::error_code error;
    const fs::path found = fs::weakly_canonical(path, error);
    return error ? path : found;
  };
  const DaemonPaths found{real(paths.state), real(paths.run)};
  if (found.state == found.run)
    return tl::unexpected(paths.run.string() + ": the state folder and the run folder must not be the same");
  for (const fs::path& own :
       {found.records(), found.definitions(), found.keys(), found.migrations(), found.set_aside()}) {
    if (lies_in(found.run, own))
      return tl::unexpected(paths.run.string() + ": the run folder must not lie in " + own.string() +
                            ", which has domains' records");
  }
  if (lies_in(found.state, found.sockets()))
    return tl::unexpected(paths.state.string() + ": the state folder must not lie in " + found.sockets().string() +
                          ", which has domains' sockets");
  return {};
}

/// A domain takes a handful of descriptors.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string cgroups_text(const MemoryInfo& memory) {
  std::string text;
  for (const std::string& controller : memory.controllers) text.append(text.empty() ? "" : " ").append(controller);
  return text.empty() ? "none: " + memory.no_groups : text;
}

tl::expected<void, std::string> serve(const DaemonArguments& arguments, const Processors& processors) {
  const auto paths = TRY(daemon_paths(arguments));
  const auto run = TRY(open_own_folder(paths.run, Making::missing, run_mode));
  auto registry = TRY(Registry::open(paths));
  auto sockets = TRY(SocketFolders::open(run.get(), paths.run, Making::missing));
  // Each folder is one daemon's: the one has the sockets, the other the EPC's accounts and the secrets.
  constexpr const char* taken = "another cloisterd runs here";
  const auto run_lock = TRY(lock_in(run.get(), DaemonPaths::lock_name, paths.run, taken));
  const auto state_lock = TRY(lock_in(registry.state(), DaemonPaths::lock_name, paths.state, taken));
  HostEpc host = host_epc(this_host());
  auto machine = TRY(load_machine(arguments.machine, [&] { return host; }));
  const auto secrets = TRY(open_secrets(registry, paths, arguments.anew));
  auto broker = TRY(Broker::create(processors, std::move(machine)));
  const std::string vmm = arguments.vmm.empty() ? beside_us("cloister-vmm") : fs::absolute(arguments.vmm).string();
  TRY(check_vmm(vmm));
  auto cgroups = TRY(DomainCgroups::open(arguments.cgroup));
  // From here on there are threads, and domains that must not lose their daemon in a step of theirs.
  const sigset_t ends = set_of({SIGTERM, SIGINT});
  ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  auto vmms = std::make_unique<HostVmms>(vmm, registry.state());
  Surroundings around{.records = std::make_unique<Registry>(std::move(registry)),
                      .vmms = std::move(vmms),
                      .secrets = secrets,
                      .transfer = beside_us("cloister-transfer")};
  auto domains =
      TRY(Domains::create(paths, std::move(around), std::move(sockets), std::move(broker), std::move(cgroups)));
  auto socket = TRY(listen_at(run.get(), DaemonPaths::api_socket_name, SOCK_STREAM, api_mode, paths.run));

  const HttpServer server(std::move(socket), api_handlers(*domains, std::move(host)));
  // It ends with this process, whose first thread has started it.
  std::optional<Process> listener;
  if (!arguments.migrate_listen.empty()) {
    auto started = listen_for_machines(beside_us("cloister-transfer"), paths.run, arguments.migrate_listen);
    if (!started) return tl::unexpected("--migrate-listen: " + started.error());
    listener = std::move(*started);
  }
  log(LogLevel::info, "ready",
      {{"socket", paths.api_socket()},
       {"machine", domains->machine().origin},
       {"epc_pages", std::to_string(domains->epc().count.total)},
       {"domains", std::to_string(domains->list().size())},
       {"cgroups", cgroups_text(domains->memory())}});
  // Of no effect unless a service manager started this process (sd_notify(3)).
  ::sd_notify(0, "READY=1");
  const AutostartThreads autostart(*domains, domains->machine().start_at_once);
  const int number = wait_for_signal();
  ::sd_notify(0, "STOPPING=1");
  log(LogLevel::info, "stopping", {{"signal", std::to_string(number)}});
  return {};
}

}  // namespace

tl::expected<DaemonPaths, std::string> daemon_paths(const DaemonArguments& arguments) {
  if (arguments.state.empty() || arguments.run.empty())
    return tl::unexpected(std::string("no place for the daemon's folders: set HOME, or use --state and --run"));
  const auto whole = [](const std::string& path) {
    const fs::path normal = fs::absolute(path).lexically_normal();
    return normal.has_filename() ? normal : normal.parent_path();
  };
  const DaemonPaths paths{whole(arguments.state), whole(arguments.run)};
  TRY(check_apart(paths));
  return paths;
}

int run_daemon(const DaemonArguments& arguments, const Processors& processors) {
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0027);
  // Long texts of requests go back to the host when they are freed, and do not raise this bound, as they would by
  // themselves (mallopt(3)): each of the workers' arenas would keep a few of them.
  constexpr int always_mapped = 128 << 10;
  ::mallopt(M_MMAP_THRESHOLD, always_mapped);
  raise_descriptor_limit();
  // All are blocked in every thread and waited for in this one, but not yet those that end it: of what is done before
  // there are threads each step may be the last, and may have to wait for somebody's file system.
  const sigset_t hangup = set_of({SIGHUP}), ends = set_of({SIGTERM, SIGINT});
  ::pthread_sigmask(SIG_BLOCK, &hangup, nullptr);
  ::pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);
  const auto served = serve(arguments, processors);
  if (served) return 0;
  log(LogLevel::error, "failed", {{"error", served.error()}});
  return 1;
}

}  // namespace cloister::toolstack
