// What an earlier daemon left. Each record is a domain that lives, or one that has died with its memory: then its
// frames are free, for nobody holds what was in them. Only a proof counts as death: the record's process is no more,
// or, if an older daemon wrote the record, nobody listens on the domain's socket any more. What could not be told is
// looked at again.
//
// VMMs are asked for their descriptors all at the same time, and those that do not answer again later on: none delays
// the start by more than Patience::handover, and each is what it really is as soon as it answers.
#include <algorithm>
#include <set>

#include "arch/try.hpp"
#include "daemon/domains.hpp"
#include "host/log.hpp"
#include "host/pidfd.hpp"
#include "plan/cpu_places.hpp"
#include "text/uuid.hpp"

namespace cloister::toolstack {

namespace {

/// What older records do not say follows from the configuration, as far as that can be read.
void settle_charge(DomainRecord& record, const DomainConfig& config) {
  const u64 epc = std::max(config.epc_memory_mib(), (pages_of(record.grants) * arch::page_size) >> 20);
  const MemoryNeed need = memory_need(config.memory_mib, epc, config.vcpus, 0, record.engine);
  if (record.overhead_mib == 0) record.overhead_mib = need.overhead;
  if (record.charged_mib == 0) record.charged_mib = need.ram + need.epc + record.overhead_mib;
}

}  // namespace

tl::expected<void, std::string> Domains::recover() {
  if (auto machine = around_.records->machine()) {
    machine_record_ = std::move(*machine);
  } else {
    machine_unread_ = machine.error();
    log(LogLevel::error, "machine-unread", {{"error", machine_unread_}});
  }
  const auto records = TRY(around_.records->read());
  around_.records->tidy(records);
  around_.records->tidy_tickets();
  TRY(keys_.read());
  read_definitions();
  host_saves_.read(records);
  host_turns(records);
  for (const std::string& name : records.strays)
    log(LogLevel::warning, "file-unknown", {{"file", (paths_.records() / name).string()}});

  for (const u64 frame : machine_record_.withdrawn) {
    if (!broker_.withdraw(frame))
      log(LogLevel::warning, "frame-unknown", {{"frame", std::to_string(frame)}, {"was", "withdrawn"}});
  }
  std::vector<Pointer> dead;
  std::set<std::string> uuids;
  for (const DomainRecord& record : records.domains) uuids.insert(record.uuid);
  for (const UnreadRecord& record : records.unread) uuids.insert(record.uuid);
  for (const DomainRecord& record : records.domains) {
    auto domain = std::make_shared<Domain>(record.running ? LifeState::lost : LifeState::launch_lost);
    domain->record = record;
    if (auto read = read_config(record.config)) domain->config = std::move(read->config);
    if (record.epc_min_mib != 0) domain->config.epc_min_mib = record.epc_min_mib;
    if (record.epc_weight != 0) domain->config.epc_weight = record.epc_weight;
    settle_charge(domain->record, domain->config);
    if (auto places = place_vcpus(domain->config, machine(), domain->record.grants, host_processors()))
      domain->cpus = std::move(*places);
    // What its text asks for, if it is nobody's: rights are looked up, and domains told, by uuid.
    if (domain->record.uuid.empty()) {
      const std::string& wish = domain->config.uuid;
      const bool free = !wish.empty() && definitions_.with_uuid(wish) == nullptr && uuids.insert(wish).second;
      domain->record.uuid = free ? wish : new_uuid();
    }
    // Its definition is written down before its record says that it has come.
    const bool comes_defined = record.move && record.move->arrives && record.move->defined;
    if (living(domain->record.uuid) != nullptr ||
        (!domain->record.persistent && !comes_defined && definitions_.with_uuid(domain->record.uuid) != nullptr)) {
      log(LogLevel::error, "uuid-taken", {{"domain", record.name}, {"uuid", domain->record.uuid}});
      domain->record.uuid = new_uuid();
      domain->record.persistent = false;
    }
    TRY(take(domain, dead));
    if (domain->record.uuid != record.uuid && table_.contains(record.id)) keep(domain->record);
  }
  // After those whose frames are certain.
  for (const UnreadRecord& unread : records.unread) {
    const Pointer domain = stand_in(unread);
    if (living(domain->record.uuid) != nullptr) {
      domain->record.uuid.clear();
      domain->keys_unknown = true;
    }
    TRY(take(domain, dead));
  }
  // After all that may use the keys that moved with them.
  for (const Pointer& domain : dead) {
    bool settled = settle_moved(domain->record);
    if (domain->record.saving && is_host_save(paths_.saved(), *domain->record.saving)) {
      // It may be one of those that are to be started.
      {
        const MutexUnlock apart(lock_);
        settled = settle_save(*domain) && settled;
      }
      if (settled) forget(domain->record);
    } else if (domain->record.saving) {
      followers_.push_back(std::async(std::launch::async | std::launch::deferred, [this, domain, settled] {
        settle_save(*domain);
        const MutexLock held(lock_);
        if (settled) forget(domain->record);
      }));
    } else if (settled) {
      forget(domain->record);
    }
    if (!is_here(domain->record)) remove_sockets(*domain);
    happens(*domain, LifeEvent::cleaned);
  }
  for (auto& [id, answer] : asked_) {
    const Pointer domain = table_.at(id);
    Answer handed = answer.get();
    if (handed) {
      adopt(*domain, std::move(*handed));
      look_on(domain);
    } else {
      log(LogLevel::error, "domain-unresponsive", {{"domain", domain->record.name}, {"error", handed.error()}});
    }
  }
  asked_.clear();
  tidy_sockets();
  return {};
}

/// What was found out of it, which the next daemon may not find out again.
void Domains::keep(const DomainRecord& record) const {
  if (auto kept = around_.records->put(record); !kept)
    log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", kept.error()}});
}

/// Into the table if it lives, or may; else it is to be forgotten.
tl::expected<void, std::string> Domains::take(const Pointer& domain, std::vector<Pointer>& dead) {
  const DomainRecord& record = domain->record;
  if (find_again(domain) == nullptr) {
    if (domain->unread.empty()) {
      dead.push_back(domain);
      return {};
    }
    if (!set_aside(record.id, domain->unread)) {
      return tl::unexpected(paths_.record(record.id).string() + ": " + domain->unread);
    }
    happens(*domain, LifeEvent::cleaned);
    return {};
  }
  const auto absent = broker_.reserve(record.id, record.grants);
  if (!absent) {
    domain->frames_unknown = absent.error();
    log(LogLevel::error, "frames-not-free", {{"domain", record.name}, {"error", absent.error()}});
  } else if (*absent != 0) {
    // They were somebody's of an earlier description: the domain keeps them, and takes them with it.
    log(LogLevel::warning, "frames-unknown", {{"domain", record.name}, {"frames", std::to_string(*absent)}});
  }
  table_.emplace(record.id, domain);
  compare(*domain);
  give_sockets(*domain);
  if (record.running && record.arrival) spend_arrival(*domain);
  if (domain->life.lacks_answer()) asked_.emplace(record.id, ask(*domain));
  log(LogLevel::info, "domain-found",
      {{"domain", record.name}, {"id", std::to_string(record.id)}, {"pid", std::to_string(domain->pid)}});
  return {};
}

/// A domain of which the record says little: enough to be seen and ended, and not to be started a second time.
Domains::Pointer Domains::stand_in(const UnreadRecord& unread) const {
  auto domain = std::make_shared<Domain>(LifeState::lost);
  domain->unread = unread.why;
  if (!unread.grants) domain->frames_unknown = unread.why;
  domain->record.id = unread.id;
  domain->record.uuid = unread.uuid;
  domain->record.persistent = unread.persistent;
  domain->record.name = unread.name.empty() ? "record-" + std::to_string(unread.id) : unread.name;
  domain->record.grants = unread.grants.value_or(Grants{});
  domain->record.package = unread.package;
  domain->record.process = unread.process;
  domain->record.run = unread.run;
  domain->record.running = true;
  domain->record.charged_mib = unread.charged_mib;
  domain->record.platform = unread.platform;
  domain->keys_unknown = !unread.keys_known;
  settle_charge(domain->record, {});
  log(LogLevel::error, "record-unread", {{"file", paths_.record(unread.id).string()}, {"error", unread.why}});
  return domain;
}

/// False: it is where it was.
bool Domains::set_aside(u32 id, const std::string& why) const {
  const auto moved = around_.records->set_aside(id);
  log(LogLevel::error, moved ? "record-set-aside" : "state-not-kept",
      {{"file", moved ? *moved : paths_.record(id).string()}, {"error", moved ? why : moved.error()}});
  return moved.has_value();
}

/// Why some frames may be somebody's without the accounts knowing it.
std::optional<std::string> Domains::accounts_unknown() const {
  for (const auto& [id, domain] : table_) {
    if (domain->frames_unknown.empty()) continue;
    return "no EPC can be granted while '" + domain->record.name +
           "' lives, whose frames are not known: " + paths_.record(id).string() + ": " + domain->frames_unknown;
  }
  return std::nullopt;
}

/// What domains left that have no record any more.
void Domains::tidy_sockets() const {
  const auto left = sockets_.list();
  if (!left) return log(LogLevel::warning, "sockets-left", {{"error", left.error()}});
  for (const SocketFolders::Left& entry : *left) {
    if (!entry.id) {
      log(LogLevel::warning, "file-unknown", {{"file", sockets_.path_of(entry.name)}});
      continue;
    }
    const auto known = table_.find(*entry.id);
    if (known != table_.end() && paths_of(known->second->record).run == paths_.run) continue;
    if (auto removed = sockets_.remove(*entry.id, SocketFolders::Listeners::look_first); !removed)
      log(LogLevel::warning, "sockets-left", {{"error", removed.error()}});
  }
}

/// Null: it is dead.
Domains::Pointer Domains::find_again(const Pointer& domain) {
  const DomainRecord& record = domain->record;
  const auto log_as = [&](LogLevel level, const char* event) {
    log(level, event, {{"domain", record.name}, {"id", std::to_string(record.id)}});
  };
  Proof proof = look_for_process(*domain);
  if (domain->life.is(LifeState::launch_stuck)) proof = end_launch(*domain);
  if (proof == Proof::dead) {
    happens(*domain, LifeEvent::died);
    return nullptr;
  }
  if (!domain->life.takes_requests()) {
    log_as(LogLevel::error, "launch-stuck");
  } else if (domain->life.lacks_proof()) {
    log_as(LogLevel::error, "domain-out-of-reach");
  }
  return domain;
}

/// By the record; an older one does not name its process. Held: the domain has its VMM's pidfd.
Domains::Proof Domains::look_for_process(Domain& domain) {
  if (!domain.record.process) return host_is_new_ ? Proof::dead : look_for_listener(domain);
  auto process = around_.vmms->open(*domain.record.process);
  if (!process) return process.error() == Absence::dead ? Proof::dead : Proof::unknown;
  return hold(domain, std::move(*process), domain.record.process->pid);
}

Domains::Proof Domains::hold(Domain& domain, Fd process, int pid) {
  domain.process = std::move(process);
  domain.pid = pid;
  happens(domain, LifeEvent::held);
  return Proof::held;
}

/// Only a living VMM has the socket. If it still has it when the process is held by a descriptor, the number was its.
Domains::Proof Domains::look_for_listener(Domain& domain) {
  using Refused = ControlClient::Refused;
  const auto control = connect(domain.record, around_.patience.backlog);
  if (!control && control.error() == Refused::absent && !around_.vmms->may_have(domain.record.id)) return Proof::dead;
  if (!control) return control.error() == Refused::nobody ? Proof::dead : Proof::unknown;
  const int pid = control->peer_pid();
  Fd process(::pidfd_open(pid, 0));
  const auto again = connect(domain.record, around_.patience.backlog);
  if (!again && again.error() == Refused::nobody) return Proof::dead;
  if (!again || !process || again->peer_pid() != pid) return Proof::unknown;
  const auto identity = around_.vmms->identity(pid);
  if (!identity || wait_for_end(process.get(), 0)) return Proof::unknown;
  domain.record.process = identity;
  if (domain.unread.empty()) keep(domain.record);  // else its file stays as it is
  return hold(domain, std::move(process), pid);
}

/// A VMM that has lost its launching connection exits as soon as it looks, and has no guest.
Domains::Proof Domains::end_launch(Domain& domain) const {
  ::pidfd_send_signal(domain.process.get(), SIGKILL, nullptr, 0);
  return wait_for_end(domain.process.get(), static_cast<int>(around_.patience.exit.count())) ? Proof::dead
                                                                                             : Proof::held;
}

/// Looks again for those of which it was not known whether they live. True: none is left.
bool Domains::look_again() {
  bool all_known = true;
  std::vector<Pointer> dead;
  for (const auto& [id, domain] : table_) {
    if (!domain->life.lacks_proof()) continue;
    const Proof proof = look_for_process(*domain);
    if (proof == Proof::dead) dead.push_back(domain);
    // As end_launch(), but for the wait: its end is seen as any other's.
    if (domain->life.is(LifeState::launch_stuck)) ::pidfd_send_signal(domain->process.get(), SIGKILL, nullptr, 0);
    all_known = all_known && proof != Proof::unknown;
  }
  for (const Pointer& domain : dead) begin_end(domain);
  return all_known;
}

std::future<Domains::Answer> Domains::ask(const Domain& domain) const {
  nlohmann::json viewers{{"verb", "viewers"}, {"user", SocketFolders::viewer(domain.record.owner.user)}};
  if (machine().access.console == LeftTo::group) viewers["group"] = ::getegid();
  const auto act = [this, &silicon = silicon(), viewers, record = domain.record, pid = domain.pid,
                    known = domain.page != nullptr]() -> Answer {
    const u64 pages = package_pages(record.package, record.grants);
    auto control = connect(record, around_.patience.backlog);
    if (!control || control->peer_pid() != pid) return tl::unexpected(std::string("its process cannot be reached"));
    const auto reply = control->request(known ? "hello" : "descriptors", around_.patience.handover);
    if (!reply) return tl::unexpected(reply.error().message);
    if (known) return Handover{};
    const auto& fds = reply->descriptors;
    const std::size_t wanted = pages == 0 ? control_fd::epc : control_fd::epcm + 1;
    const std::size_t more = fds.size() - wanted;  // an earlier VMM's first one
    if (more > 1) return tl::unexpected(std::string("descriptors are missing"));
    Handover handed;
    auto page = TRY(DomainPage::adopt(fds[more + control_fd::page].get()));
    handed.page = std::make_shared<const DomainPage>(std::move(page));
    auto lines = TRY(make_log_pipe());
    const int theirs[] = {lines.theirs.get()};
    if (control->request(nlohmann::json{{"verb", "log"}}, around_.patience.handover, theirs))
      handed.log = std::move(lines.ours);
    // What an earlier VMM does not know.
    (void)control->request(viewers, around_.patience.handover);
    // It waits for that, and the daemon before this one did not come to say it.
    if (record.arrival && handed.page->state() == DomainState::created) {
      nlohmann::json run{{"verb", "run"}, {"paused", record.arrival->paused}};
      if (!record.arrival->ticket.empty()) run["token"] = record.arrival->token;
      (void)control->request(run, around_.patience.handover);
    }
    if (pages == 0) return handed;
    auto memory = silicon.adopt_epc(fds[more + control_fd::epc].get(), fds[more + control_fd::epcm].get(), pages);
    if (!memory) return tl::unexpected(std::string(vmx::name_of(memory.error())));
    handed.memory = std::move(*memory);
    return handed;
  };
  return std::async(std::launch::async | std::launch::deferred, act);
}

/// Without what a VMM hands over the domain goes on, and its memory is gone when it ends.
void Domains::adopt(Domain& domain, Handover handed) {
  if (handed.page) {  // else the daemon has had all of it
    domain.memory = std::move(handed.memory);
    domain.page = std::move(handed.page);
  }
  if (handed.log) logs_->add(domain.record.id, domain.record.name, std::move(handed.log));
  happens(domain, LifeEvent::answered);
}

/// Whoever asked is told so; this one is for those who look.
void Domains::not_answered(u32 id, const ControlError& error) {
  const MutexLock held(lock_);
  const auto found = table_.find(id);
  if (found == table_.end() || !found->second->life.is(LifeState::running)) return;
  log(LogLevel::error, "domain-unresponsive", {{"domain", found->second->record.name}, {"error", error.message}});
  happens(*found->second, LifeEvent::unanswered);
}

bool Domains::ask_again() {
  for (auto next = asked_.begin(); next != asked_.end();) {
    if (next->second.wait_for(std::chrono::seconds(0)) == std::future_status::timeout) {
      ++next;
      continue;
    }
    Answer handed = next->second.get();
    const auto found = table_.find(next->first);
    if (handed && found != table_.end() && found->second->life.lacks_answer()) {
      adopt(*found->second, std::move(*handed));
      look_on(found->second);
      log(LogLevel::info, "domain-answers",
          {{"domain", found->second->record.name}, {"id", std::to_string(found->first)}});
    }
    next = asked_.erase(next);
  }
  bool all = true;
  for (const auto& [id, domain] : table_) {
    if (!domain->life.lacks_answer()) continue;
    all = false;
    if (!asked_.contains(id)) asked_.emplace(id, ask(*domain));
  }
  return all;
}

void Domains::forget(const DomainRecord& record) {
  log(record.running ? LogLevel::error : LogLevel::info, record.running ? "domain-lost" : "launch-undone",
      {{"domain", record.name}, {"id", std::to_string(record.id)}});
  if (!host_kept_) return;
  if (auto removed = around_.records->remove(record.id); !removed)
    log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", removed.error()}});
}

}  // namespace cloister::toolstack
