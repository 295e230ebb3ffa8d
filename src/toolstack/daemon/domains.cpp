// The table: looking domains up, telling them something, and the watcher that sees them end.
#include "toolstack/daemon/domains.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "toolstack/daemon/domain.hpp"
#include "toolstack/daemon/pidfd.hpp"
#include "toolstack/log.hpp"
#include "toolstack/vmm/control.hpp"

namespace cloister::toolstack {

namespace {

using std::chrono::seconds;

constexpr seconds patience(5), longest_death(20);
constexpr int retry_ms = 1000;

ApiError no_such_domain(const std::string& key) { return {.status = 404, .message = "no domain '" + key + "'"}; }

/// Time on a processor of all threads of a process.
double cpu_seconds_of(int pid) {
  clockid_t clock;
  timespec time{};
  if (pid == 0 || ::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

const char* word_of(hypervisor::Ending ending) {
  switch (ending) {
    case hypervisor::Ending::powered_off: return "powered-off";
    case hypervisor::Ending::reset: return "reset";
    case hypervisor::Ending::crashed: return "crashed";
    case hypervisor::Ending::timed_out: return "timed-out";
    case hypervisor::Ending::stopped: return "stopped";
    case hypervisor::Ending::halted: return "halted";
  }
  return "unknown";
}

}  // namespace

Domains::Domains(DaemonPaths paths, Registry registry, SocketFolders sockets, Broker broker, std::string vmm,
                 std::unique_ptr<VmmLogs> logs, DomainCgroups cgroups)
    : paths_(std::move(paths)),
      registry_(std::move(registry)),
      sockets_(std::move(sockets)),
      broker_(std::move(broker)),
      vmm_(std::move(vmm)),
      logs_(std::move(logs)),
      cgroups_(std::move(cgroups)),
      host_memory_(host_memory()),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

tl::expected<std::unique_ptr<Domains>, std::string> Domains::create(const DaemonPaths& paths, Registry registry,
                                                                    SocketFolders sockets, Broker broker,
                                                                    std::string vmm, DomainCgroups cgroups) {
  auto logs = VmmLogs::create([](const VmmLine& line) { log_for("cloister-vmm", line.level, line.fields); });
  if (!logs) return tl::unexpected(logs.error());
  std::unique_ptr<Domains> domains(new Domains(paths, std::move(registry), std::move(sockets), std::move(broker),
                                               std::move(vmm), std::move(*logs), std::move(cgroups)));
  if (!domains->wake_) return tl::unexpected(std::string("no descriptors left"));
  if (auto done = domains->recover(); !done) return tl::unexpected(done.error());
  std::vector<u32> ids;
  for (const auto& [id, domain] : domains->table_) ids.push_back(id);
  domains->cgroups_.keep_only(ids);
  domains->watcher_ = std::thread([raw = domains.get()] { raw->watch(); });
  return domains;
}

Domains::~Domains() {
  {
    const Lock held(lock_);
    stopping_ = true;
  }
  changed_.notify_all();
  ::eventfd_write(wake_.get(), 1);
  if (watcher_.joinable()) watcher_.join();
  ends_.clear();  // waits: frames that cannot be cleaned must not be forgotten
}

Domains::Pointer Domains::lookup(const std::string& key) const {
  for (const auto& [id, domain] : table_) {
    if (domain->record.name == key) return domain;
  }
  u32 id = 0;
  const auto [stop, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || stop != key.data() + key.size()) return nullptr;
  const auto found = table_.find(id);
  return found == table_.end() ? nullptr : found->second;
}

/// Its sockets are where the daemon that started it had its own.
DaemonPaths Domains::paths_of(const DomainRecord& record) const {
  return {paths_.state, record.run.empty() ? paths_.run : std::filesystem::path(record.run)};
}

tl::expected<ControlClient, ControlClient::Refused> Domains::connect(const DomainRecord& record,
                                                                     std::chrono::milliseconds limit) const {
  if (is_here(record)) return sockets_.connect(record.id, limit);
  const auto elsewhere = SocketFolders::open(record.run);
  if (!elsewhere) return tl::unexpected(ControlClient::Refused::other);
  return elsewhere->connect(record.id, limit);
}

bool Domains::is_here(const DomainRecord& record) const { return record.run.empty() || record.run == paths_.run; }

/// Another state's daemon may have used the run folder since, with a domain of the same number.
void Domains::remove_sockets(const Domain& domain) const {
  using Listeners = SocketFolders::Listeners;
  const DomainRecord& record = domain.record;
  tl::expected<void, std::string> removed;
  if (is_here(record)) {
    removed = sockets_.remove(record.id, domain.page != nullptr ? Listeners::gone : Listeners::look_first);
  } else if (const auto elsewhere = SocketFolders::open(record.run)) {
    removed = elsewhere->remove(record.id, Listeners::look_first);
  }
  if (!removed) log(LogLevel::warning, "sockets-left", {{"domain", record.name}, {"error", removed.error()}});
}

bool Domains::in_table(const Pointer& domain) const {
  const auto found = table_.find(domain->record.id);
  return found != table_.end() && found->second == domain;
}

std::string Domains::name_of(u32 id) const {
  const auto found = table_.find(id);
  return found == table_.end() ? std::to_string(id) : found->second->record.name;
}

bool Domains::name_taken(const std::string& name) const {
  return std::ranges::any_of(table_, [&](const auto& entry) { return entry.second->record.name == name; });
}

DomainInfo Domains::info(const Domain& domain) const {
  DomainInfo info;
  info.id = domain.record.id;
  info.name = domain.record.name;
  info.vcpus = domain.config.vcpus;
  info.memory_mib = domain.config.memory_mib;
  info.epc_mib = domain.config.epc_mib();
  info.silicon = domain.config.silicon;
  if (info.silicon == "default" && !machine().silicon.empty()) info.silicon = machine().silicon;
  info.pid = domain.pid;
  info.started = domain.record.started;
  info.console = paths_of(domain.record).console(domain.record.id);
  info.placement = domain.record.placement;
  info.owner = domain.record.owner;
  info.overhead_mib = domain.record.overhead_mib;
  info.cpu_seconds = cpu_seconds_of(domain.pid);
  info.grants = domain.record.grants;
  info.page = domain.page;
  info.memory = domain.memory;
  info.state = "unresponsive";
  if (!domain.record.running) info.state = "creating";
  if (domain.record.running && domain.page != nullptr) {
    info.state = toolstack::name_of(domain.page->state());
    info.instructions = domain.page->counts().instructions.load(std::memory_order_relaxed);
    info.restarts = domain.page->restarts();
  }
  if (domain.ending) info.state = "ending";
  return info;
}

std::optional<ApiError> Domains::not_now(const Domain& domain) const {
  const std::string name = "'" + domain.record.name + "'";
  if (domain.ending) return ApiError{409, name + " is ending"};
  if (!domain.record.running) return ApiError{409, name + " is being created"};
  return std::nullopt;
}

Domains::Result Domains::find(const std::string& key) const {
  const Lock held(lock_);
  const Pointer domain = lookup(key);
  if (domain == nullptr) return tl::unexpected(no_such_domain(key));
  return info(*domain);
}

std::vector<DomainInfo> Domains::list() const {
  const Lock held(lock_);
  std::vector<DomainInfo> all;
  for (const auto& [id, domain] : table_) all.push_back(info(*domain));
  return all;
}

tl::expected<Policies, ApiError> Domains::policies(const std::string& key) const {
  DomainConfig config;
  Grants grants;
  PackageValues package;
  {
    const Lock held(lock_);
    const Pointer domain = lookup(key);
    if (domain == nullptr) return tl::unexpected(no_such_domain(key));
    config = domain->config;
    grants = domain->record.grants;
    package = domain->record.package;
  }
  auto policies = make_policies(machine(), config, grants, package);
  if (!policies) return tl::unexpected(ApiError{.status = 500, .message = policies.error().message});
  return std::move(*policies);
}

Domains::Result Domains::tell(const std::string& key, const char* verb) {
  DomainRecord record;
  std::string name;
  {
    const Lock held(lock_);
    const Pointer domain = lookup(key);
    if (domain == nullptr) return tl::unexpected(no_such_domain(key));
    name = domain->record.name;
    if (const auto no = not_now(*domain)) return tl::unexpected(*no);
    record = domain->record;
  }
  auto control = connect(record, patience);
  if (!control) {
    const Lock held(lock_);
    if (control.error() == ControlClient::Refused::nobody || !table_.contains(record.id))
      return tl::unexpected(ApiError{409, "'" + name + "' has just ended"});
    return tl::unexpected(ApiError{
        500, "'" + name + "': its process cannot be reached at " + paths_of(record).control(record.id).string()});
  }
  if (const auto reply = control->request(verb, patience); !reply)
    return tl::unexpected(ApiError{reply.error().answered ? 409 : 500, "'" + name + "': " + reply.error().message});
  log(LogLevel::info, std::string("domain-") + verb, {{"domain", name}, {"id", std::to_string(record.id)}});
  return find(std::to_string(record.id));
}

Domains::Result Domains::rename(const std::string& key, const std::string& name) {
  Lock held(lock_);
  const Pointer domain = lookup(key);
  if (domain == nullptr) return tl::unexpected(no_such_domain(key));
  const std::string before = domain->record.name;
  if (const auto no = not_now(*domain)) return tl::unexpected(*no);
  if (name == before) return info(*domain);
  if (name_taken(name)) return tl::unexpected(ApiError{409, "there is a domain '" + name + "' already"});
  if (!domain->unread.empty())
    return tl::unexpected(ApiError{409, "'" + before + "': its record cannot be understood: " + domain->unread});
  DomainRecord renamed = domain->record;
  renamed.name = name;
  if (auto kept = registry_.put(renamed); !kept) return tl::unexpected(ApiError{500, kept.error()});
  domain->record = std::move(renamed);
  logs_->rename(domain->record.id, name);
  log(LogLevel::info, "domain-renamed", {{"domain", name}, {"before", before}});
  const DomainInfo now = info(*domain);
  const DomainRecord record = domain->record;
  held.unlock();
  // Nothing hangs on it: the daemon's log has the names that the daemon knows.
  if (auto control = connect(record, seconds(1)))
    (void)control->request(nlohmann::json{{"verb", "rename"}, {"name", name}}, seconds(1));
  return now;
}

std::vector<MemoryHolder> Domains::memory_holders() const {
  std::vector<MemoryHolder> holders;
  for (const auto& [id, domain] : table_) {
    const DomainConfig& config = domain->config;
    holders.push_back({domain->record.name, config.memory_mib + config.epc_mib() + domain->record.overhead_mib});
  }
  return holders;
}

MemoryInfo Domains::memory() const {
  const Lock held(lock_);
  MemoryInfo memory{.limit = memory_limit(), .controllers = cgroups_.controllers(), .no_groups = cgroups_.off()};
  for (const MemoryHolder& holder : memory_holders()) memory.held_mib += holder.mib;
  return memory;
}

MachineEpcInfo Domains::epc() const {
  const Lock held(lock_);
  const hypervisor::MachineEpc& accounts = broker_.accounts();
  MachineEpcInfo all;
  all.count = accounts.count();
  for (u32 package = 0; package < accounts.packages(); ++package) {
    PackageEpc one{.package = package,
                   .sections = broker_.machine().packages[package].epc,
                   .count = accounts.count(package),
                   .largest_free_extent = accounts.largest_free_extent(package)};
    const auto withdrawn = accounts.withdrawn(package);
    all.withdrawn.insert(all.withdrawn.end(), withdrawn.begin(), withdrawn.end());
    all.packages.push_back(std::move(one));
  }
  return all;
}

// ---- ends

Domains::Result Domains::destroy(const std::string& key) {
  Pointer domain;
  DomainInfo last;
  {
    const Lock held(lock_);
    domain = lookup(key);
    if (domain == nullptr) return tl::unexpected(no_such_domain(key));
    const std::string& name = domain->record.name;
    if (!domain->ending) {
      if (const auto no = not_now(*domain)) return tl::unexpected(*no);
      if (domain->pid == 0) return tl::unexpected(ApiError{500, "'" + name + "': its process cannot be told for sure"});
      domain->fate = "destroyed";
    }
    last = info(*domain);
  }
  kill_and_wait(domain);
  const Lock held(lock_);
  if (in_table(domain)) return tl::unexpected(ApiError{500, "'" + last.name + "': its process does not end"});
  last.state = "ended";
  return last;
}

/// The watcher does the rest. Returns when all is done, or if the process does not die within longest_death.
void Domains::kill_and_wait(const Pointer& domain) {
  Lock held(lock_);
  if (domain->process && domain->pid != 0) ::pidfd_send_signal(domain->process.get(), SIGKILL, nullptr, 0);
  const bool dead = changed_.wait_for(held, longest_death, [&] { return domain->ending || !in_table(domain); });
  if (dead) changed_.wait(held, [&] { return !in_table(domain); });
}

void Domains::watch() {
  Lock held(lock_);
  while (!stopping_) {
    std::vector<pollfd> set{{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    std::vector<Pointer> watched;
    for (const auto& [id, domain] : table_) {
      if (!domain->process) continue;
      set.push_back({.fd = domain->process.get(), .events = POLLIN, .revents = 0});
      watched.push_back(domain);
    }
    const bool all_known = look_again(held), all_answer = ask_again(held);
    held.unlock();
    ::poll(set.data(), set.size(), all_known && all_answer ? -1 : retry_ms);
    held.lock();
    eventfd_t count = 0;
    if (set[0].revents != 0) ::eventfd_read(wake_.get(), &count);
    for (std::size_t i = 0; i < watched.size(); ++i) {
      if (set[i + 1].revents != 0) begin_end(watched[i], held);
    }
    collect_ends(held);
  }
}

void Domains::collect_ends(Lock& held) {
  std::erase_if(ends_, [](const auto& one) { return one.wait_for(seconds(0)) == std::future_status::ready; });
  // Those that got no thread.
  while (true) {
    const auto waits = std::ranges::find_if(
        ends_, [](const auto& one) { return one.wait_for(seconds(0)) == std::future_status::deferred; });
    if (waits == ends_.end()) return;
    const std::future<void> one = std::move(*waits);
    ends_.erase(waits);
    held.unlock();
    one.wait();
    held.lock();
  }
}

namespace {
/// page: null if the domain never had one.
std::optional<hypervisor::Ending> ending_of(const DomainPage* page) {
  if (page == nullptr) return std::nullopt;
  return page->ending();
}
}  // namespace

void Domains::begin_end(const Pointer& domain, const Lock&) {
  if (std::exchange(domain->ending, true)) return;
  if (domain->pid != 0) domain->last_words = reap(domain->process.get());
  domain->process = Fd();
  domain->pid = 0;  // the number may be another's from now on
  // The domain's memory goes with end(), not with the future.
  ends_.push_back(std::async(std::launch::async | std::launch::deferred,
                             [this, last = domain]() mutable { end(std::move(last)); }));
  changed_.notify_all();
  ::eventfd_write(wake_.get(), 1);
}

void Domains::withdraw(const Domain& domain, const std::vector<u64>& frames) {
  for (const u64 frame : frames) {
    broker_.withdraw(frame);
    machine_record_.withdrawn.push_back(frame);
    log(LogLevel::error, "frame-withdrawn", {{"domain", domain.record.name}, {"frame", std::to_string(frame)}});
  }
  if (frames.empty() || !machine_unread_.empty()) return;
  if (auto kept = registry_.put(machine_record_); !kept)
    log(LogLevel::error, "state-not-kept", {{"error", kept.error()}});
}

/// Nobody else changes what belongs to a domain that is ending.
/// Tries until it can: what could not be looked at is neither free nor lost. Nothing: the daemon ends first.
std::optional<std::vector<u64>> Domains::clean(const Domain& domain) {
  if (domain.memory == nullptr) return std::vector<u64>();
  for (bool told = false;; told = true) {
    auto stuck = Broker::clean(domain.record.package, domain.record.grants, domain.memory);
    if (stuck) return std::move(*stuck);
    Lock held(lock_);
    if (!told) log(LogLevel::error, "cleaning-waits", {{"domain", domain.record.name}, {"error", stuck.error()}});
    if (changed_.wait_for(held, std::chrono::milliseconds(retry_ms), [this] { return stopping_; })) return std::nullopt;
  }
}

void Domains::end(Pointer domain) {
  const DomainRecord& record = domain->record;
  const std::string id = std::to_string(record.id);
  const auto stuck = clean(*domain);
  // Not cleaned before the daemon's own end: its memory goes with this process, and the next one finds it dead.
  if (!stuck) return;
  const Lock held(lock_);
  withdraw(*domain, *stuck);
  // A record of a domain without a VMM means no frames, so that they are free as soon as it is dead.
  if (!domain->unread.empty()) {
    set_aside(record.id, domain->unread);
  } else if (auto removed = registry_.remove(record.id); !removed) {
    log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", removed.error()}});
  }
  broker_.release(record.id);
  cgroups_.remove(record.id);
  remove_sockets(*domain);

  logs_->remove(record.id);
  std::string how = domain->fate, cause;
  bool bad = false;
  if (!how.empty()) {
    // It was asked for.
  } else if (const auto ending = ending_of(domain->page.get())) {
    how = word_of(*ending);
    bad = *ending == hypervisor::Ending::crashed;
  } else {
    how = "vmm-died";
    cause = domain->last_words;
    bad = true;
  }
  log(bad ? LogLevel::error : LogLevel::info, "domain-ended",
      {{"domain", record.name},
       {"id", id},
       {"ending", how},
       {"cause", cause},
       {"report", domain->page == nullptr ? std::string() : domain->page->report()}});
  table_.erase(record.id);
  changed_.notify_all();
  ::eventfd_write(wake_.get(), 1);
}

}  // namespace cloister::toolstack
