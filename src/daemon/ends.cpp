// Ends: the watcher that sees them, cleaning, and what is left of a domain after that.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>

#include "daemon/domains.hpp"
#include "host/log.hpp"
#include "host/pidfd.hpp"
#include "text/utc.hpp"

namespace cloister::toolstack {

namespace {

using std::chrono::seconds;

/// nullopt: it has none, or its process did not come to that.
std::optional<hypervisor::Ending> ending_of(const Domain& domain) {
  if (domain.page == nullptr) return std::nullopt;
  return domain.page->ending();
}

}  // namespace

Domains::Result Domains::destroy(const std::string& key) {
  Pointer domain;
  DomainInfo last;
  {
    const MutexLock held(lock_);
    domain = lookup(key);
    if (domain == nullptr) return tl::unexpected(absent(key));
    const std::string& name = domain->record.name;
    if (!domain->life.over()) {
      // Also of one that arrives: who waits for its verdict sees that it is dead.
      const bool arrives = domain->record.move && domain->record.move->arrives && domain->life.takes_requests();
      if (const auto no = not_now(*domain); no && !arrives) return tl::unexpected(*no);
      if (!domain->life.held())
        return tl::unexpected(ApiError{500, "'" + name + "': its process cannot be told for sure"});
      domain->fate = "destroyed";
    }
    last = info(*domain);
  }
  kill_and_wait(domain);
  const MutexLock held(lock_);
  if (!domain->life.is(LifeState::gone))
    return tl::unexpected(ApiError{500, "'" + last.name + "': its process does not end"});
  if (const Defined* const defined = definition_of(*domain)) return info(*defined);
  last.state = "ended";
  return last;
}

/// The watcher does the rest. Returns when all is done, or if the process does not die in time.
void Domains::kill_and_wait(const Pointer& domain) {
  const MutexLock held(lock_);
  if (domain->life.held()) ::pidfd_send_signal(domain->process.get(), SIGKILL, nullptr, 0);
  const bool dead =
      changed_.wait_for(lock_, around_.patience.death, [&]() CLOISTER_REQUIRES(lock_) { return domain->life.over(); });
  if (dead) changed_.wait(lock_, [&]() CLOISTER_REQUIRES(lock_) { return domain->life.is(LifeState::gone); });
}

void Domains::watch() {
  const MutexLock held(lock_);
  const int retry_ms = static_cast<int>(around_.patience.retry.count());
  const int share_ms = static_cast<int>(around_.patience.share.count());
  while (!stopping_) {
    // First: of those that it finds the ends are waited for at once.
    const bool all_known = look_again(), all_answer = ask_again(), shares = share();
    std::vector<pollfd> set{{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    std::vector<Pointer> watched;
    for (const auto& [id, domain] : table_) {
      if (!domain->life.held()) continue;
      set.push_back({.fd = domain->process.get(), .events = POLLIN, .revents = 0});
      watched.push_back(domain);
    }
    {
      const MutexUnlock apart(lock_);
      const int wait_ms = shares ? share_ms : all_known && all_answer ? -1 : retry_ms;
      ::poll(set.data(), set.size(), wait_ms);
    }
    eventfd_t count = 0;
    if (set[0].revents != 0) ::eventfd_read(wake_.get(), &count);
    for (std::size_t i = 0; i < watched.size(); ++i) {
      if (set[i + 1].revents != 0) begin_end(watched[i]);
    }
    collect_ends();
  }
}

void Domains::collect_ends() {
  std::erase_if(ends_, [](const auto& one) { return one.wait_for(seconds(0)) == std::future_status::ready; });
  // Those that got no thread.
  while (true) {
    const auto waits = std::ranges::find_if(
        ends_, [](const auto& one) { return one.wait_for(seconds(0)) == std::future_status::deferred; });
    if (waits == ends_.end()) return;
    const std::future<void> one = std::move(*waits);
    ends_.erase(waits);
    const MutexUnlock apart(lock_);
    one.wait();
  }
}

void Domains::begin_end(const Pointer& domain) {
  if (domain->life.over()) return;
  if (domain->life.held()) domain->last_words = reap(domain->process.get());
  domain->process = Fd();
  domain->pid = 0;  // the number may be another's from now on
  // The domain's memory goes with end(), not with the future.
  ends_.push_back(std::async(std::launch::async | std::launch::deferred,
                             [this, last = domain]() mutable { end(std::move(last)); }));
  happens(*domain, LifeEvent::died);
}

void Domains::withdraw(const Domain& domain, const std::vector<u64>& frames) {
  for (const u64 frame : frames) {
    broker_.withdraw(frame);
    machine_record_.withdrawn.push_back(frame);
    log(LogLevel::error, "frame-withdrawn", {{"domain", domain.record.name}, {"frame", std::to_string(frame)}});
  }
  if (frames.empty() || !machine_unread_.empty()) return;
  if (auto kept = around_.records->put(machine_record_); !kept)
    log(LogLevel::error, "state-not-kept", {{"error", kept.error()}});
}

/// Nobody else changes what belongs to a domain that is ending.
/// Tries until it can: what could not be looked at is neither free nor lost. Nothing: the daemon ends first.
std::optional<std::vector<u64>> Domains::clean(const Domain& domain) {
  if (domain.memory == nullptr) return std::vector<u64>();
  for (bool told = false;; told = true) {
    auto stuck = Broker::clean(silicon(), domain.record.package, domain.record.grants, domain.memory);
    if (stuck) return std::move(*stuck);
    const MutexLock held(lock_);
    if (!told) log(LogLevel::error, "cleaning-waits", {{"domain", domain.record.name}, {"error", stuck.error()}});
    if (changed_.wait_for(lock_, around_.patience.retry, [this]() CLOISTER_REQUIRES(lock_) { return stopping_; }))
      return std::nullopt;
  }
}

std::string Domains::how_it_ended(const Domain& domain) {
  if (!domain.fate.empty()) return domain.fate;
  const auto ending = ending_of(domain);
  return ending ? hypervisor::name_of(*ending) : "vmm-died";
}

void Domains::end(Pointer domain) {
  const DomainRecord& record = domain->record;
  const std::string id = std::to_string(record.id);
  const auto stuck = clean(*domain);
  // Not cleaned before the daemon's own end: its memory goes with this process, and the next one finds it dead.
  if (!stuck) return;
  const bool saved = settle_save(*domain);
  const MutexLock held(lock_);
  withdraw(*domain, *stuck);
  if (host_late_.contains(record.uuid)) keep_late();  // else nothing says any more that it was started
  const bool settled = settle_moved(record) && saved;
  // A record of a domain without a VMM means no frames, so that they are free as soon as it is dead.
  if (!domain->unread.empty()) {
    set_aside(record.id, domain->unread);
  } else if (!settled) {
    // The next daemon finds it dead, and tries again.
  } else if (auto removed = around_.records->remove(record.id); !removed) {
    log(LogLevel::error, "state-not-kept", {{"domain", record.name}, {"error", removed.error()}});
  }
  broker_.release(record.id);
  cgroups_.remove(record.id);
  remove_sockets(*domain);

  logs_->remove(record.id);
  std::string how = how_it_ended(*domain), cause;
  bool bad = false;
  if (domain->fate.empty()) {  // else it was asked for
    const auto ending = ending_of(*domain);
    bad = !ending || *ending == hypervisor::Ending::crashed;
    if (!ending) cause = domain->last_words;
  }
  log(bad ? LogLevel::error : LogLevel::info, "domain-ended",
      {{"domain", record.name},
       {"id", id},
       {"ending", how},
       {"cause", cause},
       {"report", domain->page == nullptr ? std::string() : domain->page->report()}});
  if (definition_of(*domain) != nullptr) {
    if (!cause.empty()) how += ": " + cause;
    last_ends_.insert_or_assign(record.uuid, LastEnd{.when = utc_now(), .how = std::move(how)});
  }
  table_.erase(record.id);
  happens(*domain, LifeEvent::cleaned);
}

}  // namespace cloister::toolstack
