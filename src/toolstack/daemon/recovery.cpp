// What an earlier daemon left. Each record is a domain that lives, or one that has died with its memory: then its
// frames are free, for nobody holds what was in them. Only a proof counts as death: the record's process is no more,
// or, if an older daemon wrote the record, nobody listens on the domain's socket any more. What could not be told is
// looked at again.
#include <filesystem>

#include "toolstack/daemon/domain.hpp"
#include "toolstack/daemon/pidfd.hpp"
#include "toolstack/log.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::chrono::seconds patience(5);
/// For room in a VMM's backlog: whoever cannot be reached at once is looked for again.
constexpr std::chrono::milliseconds short_wait(100);
constexpr int longest_exit_ms = 10'000;

}  // namespace

tl::expected<void, std::string> Domains::recover() {
  auto machine = registry_.machine();
  if (!machine) return tl::unexpected(machine.error());
  machine_record_ = std::move(*machine);
  const auto records = registry_.domains();
  if (!records) return tl::unexpected(records.error());

  for (const u64 frame : machine_record_.withdrawn) {
    if (!broker_.withdraw(frame))
      log(LogLevel::warning, "frame-unknown", {{"frame", std::to_string(frame)}, {"was", "withdrawn"}});
  }
  for (const DomainRecord& record : *records) {
    const Pointer domain = find_again(record);
    if (domain == nullptr) {
      forget(record);
      continue;
    }
    if (auto reserved = broker_.reserve(record.id, record.grants); !reserved) {
      return tl::unexpected("domain '" + record.name +
                            "' runs on frames that this machine description cannot give it: " + reserved.error());
    }
    table_.emplace(record.id, domain);
    log(LogLevel::info, "domain-found",
        {{"domain", record.name}, {"id", std::to_string(record.id)}, {"pid", std::to_string(domain->pid)}});
  }
  // Folders whose record is gone already.
  std::error_code ignored;
  for (const auto& folder : std::filesystem::directory_iterator(paths_.sockets(), ignored)) {
    const bool known =
        std::ranges::any_of(table_, [&](const auto& entry) { return paths_.sockets_of(entry.first) == folder.path(); });
    if (!known) std::filesystem::remove_all(folder.path(), ignored);
  }
  return {};
}

/// Null: it is dead.
Domains::Pointer Domains::find_again(const DomainRecord& record) {
  auto domain = std::make_shared<Domain>();
  domain->record = record;
  domain->found = true;
  if (auto read = read_config(record.config)) domain->config = std::move(read->config);
  const auto log_as = [&](LogLevel level, const char* event) {
    log(level, event, {{"domain", record.name}, {"id", std::to_string(record.id)}});
  };
  Life life = look_for_process(*domain);
  if (life == Life::held && !record.running) life = end_launch(*domain);
  if (life == Life::dead) return nullptr;
  if (!record.running) {
    log_as(LogLevel::error, "launch-stuck");
    return domain;
  }
  auto control = ControlClient::connect(paths_of(record).control(record.id), short_wait);
  if (life == Life::held && control && control->peer_pid() == domain->pid) {
    adopt(*domain, *control);
  } else {
    log_as(LogLevel::error, "domain-out-of-reach");
  }
  return domain;
}

/// By the record; an older one does not name its process. Held: the domain has its VMM's pidfd.
Domains::Life Domains::look_for_process(Domain& domain) const {
  if (!domain.record.process) return look_for_listener(domain);
  auto process = open_process(*domain.record.process);
  if (!process) return process.error() == Absence::dead ? Life::dead : Life::unknown;
  domain.process = std::move(*process);
  domain.pid = domain.record.process->pid;
  return Life::held;
}

/// Only a living VMM has the socket. If it still has it when the process is held by a descriptor, the number was its.
Domains::Life Domains::look_for_listener(Domain& domain) const {
  using Refused = ControlClient::Refused;
  const std::string socket = paths_of(domain.record).control(domain.record.id);
  const auto control = ControlClient::connect(socket, short_wait);
  if (!control && control.error() == Refused::absent && !any_process_named(vmm_)) return Life::dead;
  if (!control) return control.error() == Refused::nobody ? Life::dead : Life::unknown;
  const int pid = control->peer_pid();
  Fd process(::pidfd_open(pid, 0));
  const auto again = ControlClient::connect(socket, short_wait);
  if (!again && again.error() == Refused::nobody) return Life::dead;
  if (!again || !process || again->peer_pid() != pid) return Life::unknown;
  const auto identity = identity_of(pid);
  if (!identity || wait_for_end(process.get(), 0)) return Life::unknown;
  domain.record.process = identity;
  if (auto kept = registry_.put(domain.record); !kept)
    log(LogLevel::error, "state-not-kept", {{"domain", domain.record.name}, {"error", kept.error()}});
  domain.process = std::move(process);
  domain.pid = pid;
  return Life::held;
}

/// A VMM that has lost its launching connection exits as soon as it looks, and has no guest.
Domains::Life Domains::end_launch(Domain& domain) const {
  ::pidfd_send_signal(domain.process.get(), SIGKILL, nullptr, 0);
  return wait_for_end(domain.process.get(), longest_exit_ms) ? Life::dead : Life::held;
}

/// Looks again for those of which it was not known whether they live. True: none is left.
bool Domains::look_again(const Lock& held) {
  bool all_known = true;
  std::vector<Pointer> dead;
  for (const auto& [id, domain] : table_) {
    // One that is being created has a thread of its own that knows.
    if (domain->process || !domain->found || domain->ending) continue;
    const Life life = look_for_process(*domain);
    if (life == Life::dead) dead.push_back(domain);
    all_known = all_known && life != Life::unknown;
  }
  for (const Pointer& domain : dead) begin_end(domain, held);
  return all_known;
}

/// Takes the descriptors that the VMM holds. Without them the domain goes on, and its memory is gone when it ends.
void Domains::adopt(Domain& domain, ControlClient& control) {
  const auto failed = [&](const std::string& why) {
    log(LogLevel::error, "domain-unresponsive", {{"domain", domain.record.name}, {"error", why}});
  };
  const auto reply = control.request("descriptors", patience);
  if (!reply) return failed(reply.error().message);
  const auto& fds = reply->descriptors;
  const u64 pages = pages_of(domain.record.grants);
  if (fds.size() != (pages == 0 ? control_fd::epc : control_fd::epcm + 1)) return failed("descriptors are missing");
  auto page = DomainPage::adopt(fds[control_fd::page].get());
  if (!page) return failed(page.error());
  const auto counters = silicon::MachineCounters::adopt(fds[control_fd::counters].get());
  if (!counters) return failed(silicon::name_of(counters.error()));
  if (pages != 0) {
    auto memory = silicon::EpcMemory::adopt(fds[control_fd::epc].get(), fds[control_fd::epcm].get(), pages);
    if (!memory) return failed(silicon::name_of(memory.error()));
    domain.memory = std::move(*memory);
  }
  domain.page = std::make_shared<const DomainPage>(std::move(*page));
  broker_.adopt_counters(*counters);
}

void Domains::forget(const DomainRecord& record) {
  log(record.running ? LogLevel::error : LogLevel::info, record.running ? "domain-lost" : "launch-undone",
      {{"domain", record.name}, {"id", std::to_string(record.id)}});
  if (auto removed = registry_.remove(record.id); !removed)
    log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", removed.error()}});
}

}  // namespace cloister::toolstack
