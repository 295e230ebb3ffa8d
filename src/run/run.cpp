// `cloister run FILE`: from the file to a domain, through its restarts to its end.
#include "run/run.hpp"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "arch/try.hpp"
#include "config/config.hpp"
#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "host/processors.hpp"
#include "host/stop.hpp"
#include "host/terminal.hpp"
#include "host/whole_file.hpp"
#include "hypervisor/domain.hpp"
#include "hypervisor/epc/clean.hpp"
#include "machine/host_epc.hpp"
#include "machine/machine.hpp"
#include "machine/platform_secret.hpp"
#include "plan/chosen_silicon.hpp"
#include "plan/cpu_places.hpp"
#include "plan/images.hpp"
#include "plan/interfaces.hpp"
#include "plan/package_values.hpp"
#include "plan/plan.hpp"
#include "plan/render.hpp"
#include "plan/restarts.hpp"
#include "plan/spec.hpp"
#include "plan/storages.hpp"
#include "plan/vsock.hpp"
#include "run/boot_source.hpp"
#include "run/console_output.hpp"
#include "run/ending.hpp"
#include "run/gdb_socket.hpp"
#include "run/messages.hpp"
#include "run/patience.hpp"
#include "run/run_epc.hpp"
#include "run/run_silicon.hpp"
#include "run/run_stats.hpp"
#include "run/saved_file.hpp"
#include "run/trace_file.hpp"
#include "vmx/package.hpp"

namespace cloister::toolstack {

namespace {

using Clock = std::chrono::steady_clock;
using hypervisor::Ending;
using hypervisor::Outcome;
using hypervisor::TraceOptions;

/// Of who looks on while a domain is saved.
constexpr std::chrono::seconds between_words{3};

struct TraceKind {
  const char* name;
  bool TraceOptions::*flag;
};
constexpr TraceKind kinds[] = {
    {"exits", &TraceOptions::exits}, {"encls", &TraceOptions::encls}, {"unimplemented", &TraceOptions::unimplemented},
    {"msr", &TraceOptions::msr},     {"io", &TraceOptions::io},       {"interrupts", &TraceOptions::interrupts}};

/// What a run has open besides the domain: who may look at it, and where it writes.
struct Outside {
  std::optional<GdbSocket> gdb;
  std::unique_ptr<TraceFile> trace;

  static tl::expected<Outside, std::string> open(const RunArguments& arguments, const std::string& name,
                                                 Patience& patience) {
    Outside outside;
    if (!arguments.gdb_socket.empty()) {
      auto gdb = TRY(GdbSocket::listen(arguments.gdb_socket));
      outside.gdb.emplace(std::move(gdb));
    }
    if (!arguments.trace.empty()) {
      const std::string path = arguments.trace_file.empty() ? name + ".trace" : arguments.trace_file;
      outside.trace = TRY(TraceFile::open(path, patience));
    }
    return outside;
  }
};

TraceOptions trace_to(TraceFile* file, const RunArguments& arguments) {
  TraceOptions trace;
  if (file == nullptr) return trace;
  for (const TraceKind& kind : kinds) {
    for (const std::string& wanted : arguments.trace) trace.*kind.flag |= wanted == kind.name;
  }
  trace.out = [file](std::string_view line) { file->add(line); };
  return trace;
}

void report_unimplemented(const Outcome& outcome) {
  for (const vmx::Unimplemented& u : outcome.unimplemented) {
    spdlog::warn("cloister: not implemented: {}, {} time{}, first at {:#x}", u.what, u.count, u.count == 1 ? "" : "s",
                 u.first_rip);
  }
}

void report_stats(vmx::Package& package, const DomainConfig& config, const vmx::Execution& execution, u64 instructions,
                  Clock::duration time) {
  spdlog::info("cloister: {}", speed_line(instructions, time));
  spdlog::info("cloister: {}", engine_line(config.engine, execution));
  if (config.epc.empty()) return;
  if (const auto observer = package.observe()) spdlog::info("cloister: {}", sgx_line((*observer)->events()));
}

void report_ending(const Outcome& outcome, const std::string& name, const LastLine& last_line) {
  switch (outcome.ending) {
    case Ending::powered_off: spdlog::info("cloister: {} powered off", name); break;
    case Ending::reset: spdlog::info("cloister: {} reset itself", name); break;
    case Ending::timed_out: spdlog::error("cloister: {} did not end in time", name); break;
    case Ending::stopped: spdlog::info("cloister: {} was stopped", name); break;
    case Ending::halted: spdlog::info("cloister: {} {}", name, outcome.report); break;
    case Ending::saved: break;  // which is said where it is
    case Ending::crashed:
      spdlog::error("cloister: {} crashed: {}", name, outcome.report);
      spdlog::error("cloister: last console line: {}", last_line.text());
      break;
  }
}

/// The domain stays as its guest left it.
void wait_preserved(const std::string& name, const StopSource& stop, std::optional<Clock::time_point> deadline) {
  spdlog::info("cloister: {} is preserved: a signal or Ctrl-] ends it", name);
  stop.sleep_until(deadline.value_or(Clock::time_point::max()));
}

/// Starts the first domain, or lets one go on that was saved.
tl::expected<std::unique_ptr<hypervisor::Domain>, std::string> first_domain(vmx::Package& package,
                                                                            hypervisor::DomainSpec spec,
                                                                            const std::vector<vmx::EpcSection>& epc,
                                                                            const RunArguments& arguments) {
  if (arguments.restore.empty()) return hypervisor::Domain::create(package, std::move(spec), epc);
  const std::string name = spec.name;
  const auto saved = TRY(open_saved_file(arguments.restore));
  auto domain = hypervisor::Domain::restore(package, std::move(spec), epc, saved);
  if (!domain) return tl::unexpected(arguments.restore + ": " + domain.error());
  spdlog::info("cloister: {} goes on from {}; the enclaves that it had are lost", name, arguments.restore);
  return domain;
}

/// The run was ended from outside, and the domain is to go on another time. False: it cannot; what it was is gone.
bool save(hypervisor::Domain& domain, const DomainConfig& config, NewSavedFile& file, const StopSource& stop) {
  const std::string& name = config.name;
  const unsigned before = stop.requests();
  const bool shown = ::isatty(STDERR_FILENO) != 0;
  auto next = Clock::now() + between_words;
  const auto look = [&](u64 bytes) {
    if (shown && Clock::now() >= next) {
      spdlog::info("cloister: {}: {} MiB are saved, of {} at most", name, bytes >> 20, config.memory_mib);
      next = Clock::now() + between_words;
    }
    return stop.requests() == before ? std::string() : "it was stopped meanwhile";
  };
  const auto saved = domain.save(file.sink(look));
  const auto finished = saved ? file.finish() : saved;
  if (!finished) spdlog::error("cloister: {} was not saved: {}", name, finished.error());
  return finished.has_value();
}

/// Runs a domain and its successors until one ends for good.
int run_domains(vmx::Package& package, const DomainPlan& plan, Images& images, const BootSource& boot,
                const std::vector<vmx::EpcSection>& epc, const std::vector<CpuSet>& cpus,
                const RunArguments& arguments) {
  const DomainConfig& config = plan.config;
  const Clock::time_point start = Clock::now();
  const auto limit =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::duration<double>(arguments.timeout_seconds));
  const auto deadline = arguments.timeout_seconds > 0 ? std::optional(start + limit) : std::nullopt;
  StopSource stop;
  Patience patience(stop, deadline);
  const PatientMessages messages(patience);
  auto outside = Outside::open(arguments, config.name, patience);
  if (!outside) {
    spdlog::error("cloister: {}", outside.error());
    return exit_status::failed;
  }
  std::optional<NewSavedFile> saved;
  if (!arguments.save.empty()) {
    auto file = NewSavedFile::create(arguments.save);
    if (!file) {
      spdlog::error("cloister: {}", file.error());
      return exit_status::failed;
    }
    saved.emplace(std::move(*file));
  }
  const RawTerminal terminal(STDIN_FILENO);
  std::optional<KeyPump> keys;
  if (terminal.active()) {
    keys.emplace(STDIN_FILENO, stop);
    spdlog::info("cloister: the console is this terminal; Ctrl-] ends the domain");
  }
  ConsoleOutput console(stop, patience);
  hypervisor::RunOptions options;
  if (outside->gdb) options.gdb_listener = outside->gdb->descriptor();
  options.trace = trace_to(outside->trace.get(), arguments);
  options.console_in = keys ? keys->keys() : STDIN_FILENO;
  options.console_out = [&console](std::span<const u8> bytes) { console.add(bytes); };
  options.stop = &stop.flag();
  options.shutdown = &stop.shutdown();
  options.shutdown_timeout = std::chrono::seconds(config.shutdown_timeout);
  options.fell_asleep = [&config] {
    spdlog::info("cloister: {}: it has suspended itself to RAM; what is typed wakes it", config.name);
  };
  options.begins = [&cpus, &name = config.name, anywhere = cpus_of_thread()](u32 vcpu) {
    const CpuSet& own = cpus[vcpu];
    if (!run_on_cpus(own.empty() ? anywhere : own))
      spdlog::warn("cloister: {}: vCPU {} cannot run on {}", name, vcpu, cpu_set_text(own));
  };
  options.input_wakes = true;
  options.note = [&config](std::string_view what) { spdlog::info("cloister: {}: {}", config.name, what); };

  const auto clock = arguments.deterministic ? vmx::ClockMode::deterministic : vmx::ClockMode::host;
  u64 instructions = 0;
  vmx::Execution execution;
  platform::RtcBattery battery;
  Restarts restarts(config);
  bool first = true;
  while (true) {
    if (const auto found = boot.look(config, images, !first || arguments.restore.empty()); !found) {
      spdlog::error("{}", format(arguments.file, found.error()));
      return exit_status::bad_configuration;
    }
    auto spec = make_spec(plan, images, clock, battery);
    auto domain = std::exchange(first, false) ? first_domain(package, std::move(spec), epc, arguments)
                                              : hypervisor::Domain::create(package, std::move(spec), epc);
    if (!domain) {
      spdlog::error("{}", format(arguments.file, {{}, domain.error()}));
      return exit_status::bad_configuration;
    }
    if (deadline) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - Clock::now());
      options.timeout = std::max(left, std::chrono::milliseconds(0));
    }
    const Outcome outcome = (*domain)->run(options);
    instructions += outcome.instructions;
    execution += outcome.execution;
    battery = (*domain)->battery();
    report_ending(outcome, config.name, console.last_line());
    report_unimplemented(outcome);
    const bool may_go_on = !stop.flag() && !stop.shutdown();
    const Action action = may_go_on ? action_after(outcome.ending, config).value_or(Action::destroy) : Action::destroy;
    if (action == Action::preserve) wait_preserved(config.name, stop, deadline);
    if (action == Action::restart && restarts_here(restarts, config.name, stop, deadline)) {
      domain->reset();
      const auto stuck = hypervisor::clean_epc(package, epc);
      if (stuck.empty()) continue;
      spdlog::error("cloister: {} cannot start again: {} EPC pages cannot be removed", config.name, stuck.size());
      return exit_status::failed;
    }
    const bool to_be_saved = saved && from_outside(outcome.ending);
    const bool is_saved = to_be_saved && save(**domain, config, *saved, stop);
    if (is_saved) spdlog::info("cloister: {} is saved in {}, without its enclaves", config.name, arguments.save);
    if (arguments.stats) report_stats(package, config, execution, instructions, Clock::now() - start);
    if (!console.finish()) return exit_status::failed;
    const bool traced = !outside->trace || outside->trace->finish();
    if (to_be_saved && !is_saved) return exit_status::failed;
    const int status = is_saved ? exit_status::powered_off : status_of(outcome.ending, stop);
    return status == exit_status::powered_off && !traced ? exit_status::failed : status;
  }
}

/// The socket that programs connect to, unless another one is in its place by then.
class RemovedAtEnd {
 public:
  explicit RemovedAtEnd(std::string file) : path_(std::move(file)) {
    is_there_ = !path_.empty() && ::lstat(path_.c_str(), &made_) == 0;
  }
  ~RemovedAtEnd() {
    struct stat now {};
    if (is_there_ && ::lstat(path_.c_str(), &now) == 0 && now.st_ino == made_.st_ino && now.st_dev == made_.st_dev)
      ::unlink(path_.c_str());
  }
  RemovedAtEnd(const RemovedAtEnd&) = delete;
  RemovedAtEnd& operator=(const RemovedAtEnd&) = delete;

 private:
  const std::string path_;
  struct stat made_ {};
  bool is_there_ = false;
};

}  // namespace

std::vector<std::string> trace_kinds() {
  std::vector<std::string> names;
  for (const TraceKind& kind : kinds) names.emplace_back(kind.name);
  return names;
}

int run(const RunArguments& arguments, const Runner& runner) {
  const auto refuse = [&](const Diagnostic& diagnostic) {
    spdlog::error("{}", format(arguments.file, diagnostic));
    return exit_status::bad_configuration;
  };
  if (arguments.backend != "software" && !(arguments.save.empty() && arguments.restore.empty()))
    return refuse({{}, "--save and --restore: found the backend " + arguments.backend + ", expected software"});
  const auto text = read_within(arguments.file, longest_config);
  if (!text) return refuse({{}, "cannot read: " + text.error()});
  const auto read = read_config({reinterpret_cast<const char*>(text->data()), text->size()});
  if (!read) return refuse(read.error());
  for (const Diagnostic& warning : read->warnings) {
    spdlog::warn("{}", format(arguments.file, {warning.at, "warning: " + warning.message}));
  }
  return runner(arguments, read->config);
}

int run_on(const Processors& processors, const RunArguments& arguments, const DomainConfig& configured) {
  DomainConfig config = configured;
  if (arguments.engine != Engine::automatic) {
    config.engine = arguments.engine;
    config.where.erase("engine");
  }
  const auto refuse = [&](const Diagnostic& diagnostic) {
    spdlog::error("{}", format(arguments.file, diagnostic));
    return exit_status::bad_configuration;
  };
  if (arguments.deterministic && !config.interfaces.empty())
    return refuse({config.position_of("vif"), "'vif': a network is never the same twice: not with --deterministic"});
  if (arguments.deterministic && config.vsock)
    return refuse({config.position_of("vsock"), "'vsock': a host is never the same twice: not with --deterministic"});
  const bool described = !arguments.machine.empty();
  MachineDescription machine = machine_for(config);
  if (described) {
    auto read_machine = load_machine(arguments.machine, [] { return host_epc(this_host()); });
    if (!read_machine) {
      spdlog::error("{}", read_machine.error());
      return exit_status::bad_configuration;
    }
    machine = std::move(*read_machine);
  }
  auto placed_disks = with_places(config, machine.storages);
  if (!placed_disks) return refuse(placed_disks.error());
  config = std::move(*placed_disks);
  auto images = read_images(config, !arguments.dry_run);
  if (!images) return refuse(images.error());
  const auto placed = place_epc(config, machine);
  if (!placed) return refuse(placed.error());
  if (described && !config.epc.empty()) spdlog::info("cloister: EPC: {}", placed->reason);

  const auto engine = choose_engine(processors, config, machine.engine);
  if (!engine) return refuse(engine.error());
  config.engine = *engine;
  const vmx::Backend& silicon = *processors.with(*engine);
  const auto chosen = silicon_of_run(silicon, config, machine, arguments.restore, arguments.deterministic);
  if (!chosen) return refuse(chosen.error());
  for (const Diagnostic& warning : chosen->warnings) {
    spdlog::warn("{}", format(arguments.file, {warning.at, "warning: " + warning.message}));
  }
  auto hardware = package_of(package_values(machine, placed->grants, chosen->features), placed->grants,
                             arguments.deterministic || arguments.dry_run);
  if (!hardware) {
    spdlog::error("cloister: {}", hardware.error());
    return exit_status::failed;
  }
  const auto plan = make_plan(silicon, config, *hardware, packages_of(placed->grants), chosen->described);
  if (!plan) return refuse(plan.error());
  limit_xfrm(*hardware, plan->cpuid);
  const auto cpus = place_vcpus(config, machine, placed->grants, host_processors());
  if (!cpus) return refuse(cpus.error());
  if (arguments.dry_run) {
    const std::string rendered = arguments.json ? render_json(*plan) : render_text(*plan);
    return print(rendered) ? exit_status::powered_off : exit_status::failed;
  }
  const auto boot = BootSource::start(config);
  if (!boot) return refuse(boot.error());
  auto connections = start_networks(config);
  if (!connections) return refuse(connections.error());
  auto interfaces = interfaces_on(config, std::move(*connections));
  if (!interfaces) return refuse(interfaces.error());
  images->interfaces = std::move(*interfaces);
  auto ends = start_vsock(config);
  if (!ends) return refuse(ends.error());
  const RemovedAtEnd socket{config.vsock ? config.vsock->path : std::string()};
  auto vsock = vsock_on(config, std::move(*ends));
  if (!vsock) return refuse(vsock.error());
  images->vsock = std::move(*vsock);
  const auto package = silicon.make_package(*hardware);
  return run_domains(*package, *plan, *images, *boot, hardware->epc, *cpus, arguments);
}

}  // namespace cloister::toolstack
