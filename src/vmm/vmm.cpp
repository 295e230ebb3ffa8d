// This thread makes the guest and runs its first processor; the service answers beside it.
#include "vmm/vmm.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include <chrono>

#include "host/last_line.hpp"
#include "host/log.hpp"
#include "host/processors.hpp"
#include "host/whole_file.hpp"
#include "plan/cpu_places.hpp"
#include "plan/restarts.hpp"
#include "vmm/guest.hpp"
#include "vmm/run_on.hpp"
#include "vmm/sandbox.hpp"
#include "vmm/service.hpp"

namespace cloister::toolstack {

namespace {

using hypervisor::Ending;
using hypervisor::Outcome;

/// Answers the daemon's first request with what went wrong.
int give_up(const LaunchMessage& launch, const Diagnostic& why) {
  log(LogLevel::error, "launch-failed", {{"domain", launch.name}, {"error", why.message}});
  const Fd launching(::accept4(launch_fd::control, nullptr, nullptr, SOCK_CLOEXEC));
  if (!receive_packet(launching.get())) return 1;
  nlohmann::json reply{{"error", why.message}};
  if (why.at.line != 0) {
    reply["file"] = launch.file;
    reply["line"] = why.at.line;
    reply["column"] = why.at.column;
  }
  (void)send_packet(launching.get(), reply);
  return 1;
}

void log_ending(const std::string& name, const Outcome& outcome, const LastLine& console) {
  const bool crashed = outcome.ending == Ending::crashed;
  log(crashed ? LogLevel::error : LogLevel::info, "guest-ended",
      {{"domain", name},
       {"ending", name_of(outcome.ending)},
       {"report", outcome.report},
       {"console", crashed ? console.text() : std::string()}});
  for (const auto& missing : outcome.unimplemented)
    log(LogLevel::warning, "not-implemented",
        {{"domain", name}, {"what", missing.what}, {"times", std::to_string(missing.count)}});
}

/// Before a restart of the guest's own. False: there is none; the outcome says so if it is for their number.
bool wait_for_restart(Restarts& restarts, Lifecycle& lifecycle, Outcome& outcome) {
  const std::string name = lifecycle.name();
  return restarts.wait_for_next(
      [&](const std::string& why) {
        outcome.report += (outcome.report.empty() ? "" : "\n") + why;
        log(LogLevel::error, "guest-restarts-no-more", {{"domain", name}, {"error", why}});
      },
      [&](std::chrono::seconds wait) {
        log(LogLevel::warning, "guest-restart-delayed", {{"domain", name}, {"seconds", std::to_string(wait.count())}});
        return lifecycle.wait_before_restart(wait);
      });
}

/// Whether the guest starts anew, now or, in a domain that is preserved, as soon as somebody wants it.
bool goes_on(Outcome& outcome, const DomainConfig& config, Restarts& restarts, Lifecycle& lifecycle) {
  if (lifecycle.terminating()) return false;
  if (lifecycle.take_reboot()) return true;
  const auto action = action_after(outcome.ending, config);
  if (action == Action::restart) return wait_for_restart(restarts, lifecycle, outcome);
  if (action != Action::preserve) return false;
  lifecycle.preserve(outcome.ending == Ending::crashed ? DomainState::crashed : DomainState::halted);
  return !lifecycle.terminating() && lifecycle.take_reboot();
}

/// Runs the guest, which `lifecycle` has, and its successors until one ends for good.
Outcome run_guest(Guest& guest, const hypervisor::RunOptions& options, DomainPage& page, Lifecycle& lifecycle,
                  const LastLine& console) {
  Restarts restarts(guest.config());
  lifecycle.wait_for_start();
  if (guest.domain().asleep()) lifecycle.fell_asleep();  // as it was saved
  while (true) {
    Outcome outcome = guest.run(options);
    if (lifecycle.saved()) outcome.ending = Ending::saved;
    lifecycle.set_domain(nullptr);
    log_ending(lifecycle.name(), outcome, console);
    if (!goes_on(outcome, guest.config(), restarts, lifecycle)) return outcome;
    lifecycle.set_epc(nullptr);
    if (auto renewed = guest.renew(); !renewed) {
      outcome.ending = Ending::crashed;
      outcome.report = "cannot start again: " + renewed.error();
      return outcome;
    }
    lifecycle.set_epc(&guest.domain());
    // Frames that the guest before this one gave back: most come at once, or are somebody else's.
    lifecycle.wait_for_epc(std::chrono::seconds(2));
    page.add_restart();
    page.set_state(DomainState::running);
    lifecycle.set_domain(&guest.domain());
    log(LogLevel::info, "guest-restarted", {{"domain", lifecycle.name()}});
  }
}

}  // namespace

int run_vmm(const Processors& processors) {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  const auto text = read_within(launch_fd::message, longest_own);
  if (!text) return 1;
  const auto launch = read_launch({reinterpret_cast<const char*>(text->data()), text->size()});
  if (!launch) {
    log(LogLevel::error, "launch-refused", {{"error", launch.error()}});
    return 1;
  }
  for (int fd = launch_fd::first; fd <= launch_fd::last; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  // Whoever connects from now on sees this process as its peer (SO_PEERCRED).
  if (::listen(launch_fd::control, SOMAXCONN) != 0) return 1;
  const uid_t owner = ::geteuid();
  // All of its threads begin with this, and those of processors go on to their own.
  const CpuSet anywhere = cpus_of_thread(), all = all_places(launch->cpus);
  if (!all.empty()) run_on(all, launch->name);
  const vmx::Backend* const silicon = processors.with(launch->engine);
  if (silicon == nullptr)
    return give_up(*launch, {{}, "'engine': this host has no " + std::string(name_of(launch->engine))});
  silicon->prepare();
  const auto sandboxed = enter_sandbox();
  if (!sandboxed) return give_up(*launch, {{}, "sandbox: " + sandboxed.error()});
  auto page = DomainPage::adopt(launch_fd::page);
  if (!page) return give_up(*launch, {{}, page.error()});
  auto guest = Guest::create(*silicon, *launch, *page);
  if (!guest) return give_up(*launch, guest.error());

  Lifecycle lifecycle(*page, launch->name);
  // Before anybody can ask for it: who pauses a domain as soon as it is made finds it.
  lifecycle.set_epc(&guest->domain());
  lifecycle.set_domain(&guest->domain());
  if (launch->goes_on) lifecycle.set_goes_on();
  if (guest->arriving()) {
    lifecycle.set_arriving(Lifecycle::Arriving::by_token);
  } else if (launch->waits) {
    lifecycle.set_arriving(Lifecycle::Arriving::by_word);
  }
  ConsoleHub hub(*page, Fd(launch_fd::console));
  Saver saver(lifecycle, *page);
  Mover mover(lifecycle, *page, guest->disk_locks());
  VerbContext context{.id = launch->id,
                      .lifecycle = lifecycle,
                      .page = *page,
                      .descriptors = {launch_fd::page},
                      .paged = guest->config().epc_is_paged(),
                      .hub = &hub,
                      .saver = &saver,
                      .mover = &mover,
                      .ram = guest->ram()};
  if (!launch->grants.empty()) context.descriptors.insert(context.descriptors.end(), {launch_fd::epc, launch_fd::epcm});
  const Service service(std::move(context), hub, Fd(launch_fd::control), owner);

  LastLine last_line;
  hypervisor::RunOptions options;
  options.console_in = hub.input();
  options.console_out = [&](std::span<const u8> bytes) {
    last_line.feed(bytes);
    hub.output(bytes);
  };
  options.stop = &lifecycle.stop_flag();
  options.shutdown = &lifecycle.shutdown_flag();
  options.shutdown_timeout = std::chrono::seconds(guest->config().shutdown_timeout);
  options.note = [&lifecycle](std::string_view what) {
    log(LogLevel::info, "guest-note", {{"domain", lifecycle.name()}, {"note", std::string(what)}});
  };
  options.fell_asleep = [&lifecycle] {
    lifecycle.fell_asleep();
    log(LogLevel::info, "guest-note", {{"domain", lifecycle.name()}, {"note", "it has suspended itself to RAM"}});
  };
  options.begins = [&](u32 vcpu) {
    if (vcpu >= launch->cpus.size()) return;
    const CpuSet& own = launch->cpus[vcpu];
    run_on(own.empty() ? anywhere : own, launch->name);
  };
  options.counts = &page->counts();
  const Outcome outcome = run_guest(*guest, options, *page, lifecycle, last_line);
  page->set_ending(outcome.ending, outcome.report);
  return 0;
}

}  // namespace cloister::toolstack
