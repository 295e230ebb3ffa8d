// The table: looking domains up, and telling them something.
#include "daemon/domains.hpp"

#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "arch/try.hpp"
#include "host/log.hpp"
#include "protocol/control.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

using std::chrono::seconds;

/// Time on a processor of all threads of a process.
double cpu_seconds_of(int pid) {
  clockid_t clock;
  timespec time{};
  if (pid == 0 || ::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// What its configuration says.
void set_wishes(DomainInfo& info, const DomainConfig& config, const MachineDescription& machine) {
  info.vcpus = config.vcpus;
  info.memory_mib = config.memory_mib;
  info.epc_mib = config.epc_mib();
  info.engine = wished_engine(config, machine.engine);
  info.silicon = config.silicon == "default" && !machine.silicon.empty() ? machine.silicon : config.silicon;
}

}  // namespace

ApiError no_such_domain(const std::string& key) { return {.status = 404, .message = "no domain '" + key + "'"}; }

void Domains::happens(Domain& domain, LifeEvent event) {
  if (around_.observer) around_.observer(domain.life.state(), event);
  domain.life.happens(event);
  changed_.notify_all();
  ::eventfd_write(wake_.get(), 1);
}

/// What has the form of a uuid, or of a number, is one, whatever an older record may be called: who looked a domain up
/// and then acts by its uuid meets that one, or none.
Domains::Pointer Domains::lookup(const std::string& key) const {
  if (const auto uuid = read_uuid(key)) return living(*uuid);
  if (const auto id = domain_number(key)) {
    const auto found = table_.find(*id);
    return found == table_.end() ? nullptr : found->second;
  }
  for (const auto& [id, domain] : table_) {
    if (domain->record.name == key) return domain;
  }
  return nullptr;
}

Domains::Pointer Domains::living(const std::string& uuid) const {
  for (const auto& [id, domain] : table_) {
    if (!uuid.empty() && domain->record.uuid == uuid) return domain;
  }
  return nullptr;
}

const Defined* Domains::definition_of(const Domain& domain) const {
  return domain.record.persistent ? definitions_.with_uuid(domain.record.uuid) : nullptr;
}

ApiError Domains::absent(const std::string& key) const {
  const Defined* const defined = definitions_.find(key);
  if (defined == nullptr) return no_such_domain(key);
  return {409, "'" + defined->definition.name + "' is shut off"};
}

bool Domains::lives(const std::string& uuid) const {
  const MutexLock held(lock_);
  const Pointer domain = living(uuid);
  return domain != nullptr && domain->life.takes_requests();
}

ApiError Domains::lives_already(const Domain& domain) const {
  const char* const how = domain.life.over()             ? "' is ending"
                          : domain.life.takes_requests() ? "' runs already"
                                                         : "' is being created";
  return {409, "'" + domain.record.name + how};
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

/// As this daemon's machine says: an earlier one's may have said something else.
void Domains::give_sockets(const Domain& domain) const {
  const DomainRecord& record = domain.record;
  const auto give = [&](const SocketFolders& folders) -> tl::expected<void, std::string> {
    return folders.has(record.id) ? folders.give(record.id, record.owner.user, machine().access.console)
                                  : tl::expected<void, std::string>();
  };
  tl::expected<void, std::string> given;
  if (is_here(record)) {
    given = give(sockets_);
  } else if (const auto elsewhere = SocketFolders::open(record.run)) {
    given = give(*elsewhere);
  }
  if (!given) log(LogLevel::warning, "sockets-not-given", {{"domain", record.name}, {"error", given.error()}});
}

std::string Domains::name_of(u32 id) const {
  const auto found = table_.find(id);
  return found == table_.end() ? std::to_string(id) : found->second->record.name;
}

std::optional<ApiError> Domains::name_taken(const std::string& name) const {
  const Defined* const defined = definitions_.with_name(name);
  if (defined != nullptr && living(defined->definition.uuid) == nullptr)
    return ApiError{409, "'" + name + "' is defined, and shut off: `cloister start` starts it"};
  const bool lives = std::ranges::any_of(table_, [&](const auto& entry) { return entry.second->record.name == name; });
  if (defined == nullptr && !lives) return std::nullopt;
  return ApiError{409, "there is a domain '" + name + "' already"};
}

bool Domains::uuid_taken(const std::string& uuid) const {
  return definitions_.with_uuid(uuid) != nullptr || living(uuid) != nullptr;
}

DomainInfo Domains::info(const Domain& domain) const {
  DomainInfo info;
  info.id = domain.record.id;
  info.uuid = domain.record.uuid;
  info.name = domain.record.name;
  set_wishes(info, domain.config, machine());
  info.engine = domain.record.engine;
  if (const Defined* const defined = definition_of(domain)) {
    info.terms = defined->definition;
    info.differs = domain.differs;
  }
  info.pid = domain.pid;
  info.started = domain.record.started;
  info.console = paths_of(domain.record).console(domain.record.id);
  if (domain.config.vsock) info.vsock = paths_of(domain.record).vsock(domain.record.id);
  info.placement = domain.record.placement;
  info.owner = domain.record.owner;
  info.overhead_mib = domain.record.overhead_mib;
  info.cpu_seconds = cpu_seconds_of(domain.pid);
  info.grants = domain.record.grants;
  info.platform = domain.record.platform;
  info.listed = package_sections(domain.record.package, domain.record.grants);
  info.cpus = domain.cpus;
  info.paged = paged_epc(domain);
  info.balloon = balloon_of(domain);
  info.devices = devices_of(domain);
  info.page = domain.page;
  info.memory = domain.memory;
  info.save = save_of(domain.record.uuid);
  info.move = move_of(domain);
  const char* const shown = domain.life.shown();
  info.state = shown != nullptr ? shown : toolstack::name_of(domain.page->state());
  if (shown == nullptr && domain.record.move && domain.record.move->arrives) info.state = "arriving";
  if (domain.page == nullptr) return info;
  info.instructions = domain.page->counts().instructions.load(std::memory_order_relaxed);
  info.restarts = domain.page->restarts();
  info.came = domain.page->goes_on();
  return info;
}

DomainInfo Domains::info(const Defined& defined) const {
  DomainInfo info;
  info.uuid = defined.definition.uuid;
  info.name = defined.definition.name;
  info.state = defined.definition.in_doubt ? "in-doubt" : "shut off";
  if (const auto& doubt = defined.definition.in_doubt) {
    MoveInfo& move = info.move.emplace();
    move.session = doubt->session;
    move.peer = doubt->peer;
    move.phase = "in-doubt";
  }
  info.owner = defined.definition.owner;
  info.terms = defined.definition;
  if (!defined.config.epc.empty()) info.platform = platform_of(defined.config, &defined.definition);
  set_wishes(info, defined.config, machine());
  info.start_failed = start_failure(defined.definition);
  info.save = save_of(info.uuid);
  info.saved_for_host = host_saves_.has(info.uuid);
  if (const auto last = last_ends_.find(info.uuid); last != last_ends_.end()) info.last_end = last->second;
  return info;
}

std::optional<ApiError> Domains::not_now(const Domain& domain) const {
  const std::string name = "'" + domain.record.name + "'";
  if (domain.record.move && domain.record.move->arrives) return ApiError{409, name + " is arriving from elsewhere"};
  if (domain.life.takes_requests()) return std::nullopt;
  return ApiError{409, name + (domain.life.over() ? " is ending" : " is being created")};
}

Domains::Result Domains::find(const std::string& key) const {
  const MutexLock held(lock_);
  if (const Pointer domain = lookup(key)) return info(*domain);
  if (const Defined* const defined = definitions_.find(key)) return info(*defined);
  if (const auto last = ended_by_save(key)) return *last;
  return tl::unexpected(no_such_domain(key));
}

std::vector<DomainInfo> Domains::list() const {
  const MutexLock held(lock_);
  std::vector<DomainInfo> all;
  for (const auto& [id, domain] : table_) all.push_back(info(*domain));
  return all;
}

std::vector<DomainInfo> Domains::list_shut_off() const {
  const MutexLock held(lock_);
  std::set<std::string> alive;
  for (const auto& [id, domain] : table_) alive.insert(domain->record.uuid);
  std::vector<DomainInfo> all;
  for (const auto& [uuid, defined] : definitions_) {
    if (!alive.contains(uuid)) all.push_back(info(defined));
  }
  std::ranges::sort(all, {}, &DomainInfo::name);
  return all;
}

tl::expected<Policies, ApiError> Domains::policies(const std::string& key) const {
  DomainConfig config;
  Grants grants;
  PackageValues package;
  {
    const MutexLock held(lock_);
    const Pointer domain = lookup(key);
    if (domain == nullptr) return tl::unexpected(absent(key));
    config = domain->config;
    grants = domain->record.grants;
    package = domain->record.package;
  }
  auto policies = make_policies(silicon(), machine(), config, grants, package);
  if (!policies) return tl::unexpected(ApiError{.status = 500, .message = policies.error().message});
  return std::move(*policies);
}

Domains::Result Domains::tell(const std::string& key, const GuestVerbRow& verb, const nlohmann::json& arguments) {
  DomainRecord record;
  {
    const MutexLock held(lock_);
    const Pointer domain = lookup(key);
    if (domain == nullptr) return tl::unexpected(absent(key));
    if (const auto no = not_now(*domain)) return tl::unexpected(*no);
    record = domain->record;
  }
  nlohmann::json request = arguments;
  request["verb"] = verb.word;
  TRY(say(record, request));
  log(LogLevel::info, std::string("domain-") + verb.word, {{"domain", record.name}, {"id", std::to_string(record.id)}});
  if (verb.verb == GuestVerb::epc_target) {
    const MutexLock held(lock_);
    share_soon();
  }
  return find(std::to_string(record.id));
}

tl::expected<Packet, ApiError> Domains::say(const DomainRecord& record, const nlohmann::json& request,
                                            std::span<const int> descriptors) {
  const std::string& name = record.name;
  auto control = connect(record, around_.patience.verb);
  if (!control) {
    const MutexLock held(lock_);
    if (control.error() == ControlClient::Refused::nobody || !table_.contains(record.id))
      return tl::unexpected(ApiError{409, "'" + name + "' has just ended"});
    return tl::unexpected(ApiError{
        500, "'" + name + "': its process cannot be reached at " + paths_of(record).control(record.id).string()});
  }
  auto reply = control->request(request, around_.patience.verb, descriptors);
  if (!reply && reply.error().late) not_answered(record.id, reply.error());
  if (!reply)
    return tl::unexpected(ApiError{reply.error().answered ? 409 : 500, "'" + name + "': " + reply.error().message});
  return std::move(*reply);
}

Domains::Result Domains::rename(const Pointer& domain, const std::string& name) {
  DomainInfo now;
  DomainRecord record;
  {
    const MutexLock held(lock_);
    const std::string before = domain->record.name;
    if (const auto no = not_now(*domain)) return tl::unexpected(*no);
    if (name == before) return info(*domain);
    if (const auto taken = name_taken(name)) return tl::unexpected(*taken);
    if (!domain->unread.empty())
      return tl::unexpected(ApiError{409, "'" + before + "': its record cannot be understood: " + domain->unread});
    DomainRecord renamed = domain->record;
    renamed.name = name;
    if (auto kept = around_.records->put(renamed); !kept) return tl::unexpected(ApiError{500, kept.error()});
    domain->record = std::move(renamed);
    logs_->rename(domain->record.id, name);
    log(LogLevel::info, "domain-renamed", {{"domain", name}, {"before", before}});
    now = info(*domain);
    record = domain->record;
  }
  // Nothing hangs on it: the daemon's log has the names that the daemon knows.
  if (auto control = connect(record, seconds(1)))
    (void)control->request(nlohmann::json{{"verb", "rename"}, {"name", name}}, seconds(1));
  return now;
}

std::string Domains::user_of_disk(const std::string& identity, std::optional<DiskUse> locked) {
  const MutexLock held(lock_);
  for (const auto& [id, domain] : table_) {
    const auto& disks = domain->record.disks;
    const auto found = std::ranges::find(disks, identity);
    if (domain->life.over() || found == disks.end()) continue;
    if (!locked) return domain->record.name;
    if (!domain->moves()) continue;
    // What moves has no backing files: they are its disks.
    const auto place = static_cast<std::size_t>(found - disks.begin());
    const bool reads = place < domain->config.disks.size() && domain->config.disks[place].read_only;
    if (!reads || *locked == DiskUse::write) return domain->record.name;
  }
  return {};
}

}  // namespace cloister::toolstack
