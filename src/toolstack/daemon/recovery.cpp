// What an earlier daemon left. Each record is a domain that lives, or one that has died with its memory: then its
// frames are free, for nobody holds what was in them.
#include <poll.h>

#include <filesystem>

#include "toolstack/daemon/domain.hpp"
#include "toolstack/daemon/pidfd.hpp"
#include "toolstack/log.hpp"

namespace cloister::toolstack {

namespace {

constexpr std::chrono::seconds patience(5);
/// A VMM that has lost its launching connection exits as soon as it looks.
constexpr int longest_exit_ms = 10'000;

/// Waits until the other end of the connection is closed.
bool wait_for_hangup(int connection, int milliseconds) {
  pollfd wait{.fd = connection, .events = 0, .revents = 0};
  return ::poll(&wait, 1, milliseconds) > 0;
}

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
  auto control = ControlClient::connect(paths_.control(record.id));
  if (!control && control.error() == ControlClient::Refused::dead) return nullptr;
  auto domain = std::make_shared<Domain>();
  domain->record = record;
  if (auto read = read_config(record.config)) domain->config = std::move(read->config);
  if (!control) {
    log(LogLevel::error, "domain-out-of-reach", {{"domain", record.name}});
    return domain;
  }
  if (!record.running) {
    if (wait_for_hangup(control->descriptor(), longest_exit_ms)) return nullptr;
    log(LogLevel::error, "launch-stuck", {{"domain", record.name}});
    domain->process = control->release();
    return domain;
  }
  // Only a living VMM has the socket. If it still has it when the process is held by a descriptor, the number was its.
  const int pid = control->peer_pid();
  Fd process(::pidfd_open(pid, 0));
  if (const auto again = ControlClient::connect(paths_.control(record.id)); !again) return nullptr;
  if (!process) {
    domain->process = control->release();
    return domain;
  }
  domain->process = std::move(process);
  domain->pid = pid;
  adopt(*domain, *control);
  return domain;
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
