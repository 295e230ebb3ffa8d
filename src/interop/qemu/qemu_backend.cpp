// From a configuration to a QEMU, through its restarts to its end.
#include "interop/qemu/qemu_backend.hpp"

#include <fmt/ranges.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "arch/try.hpp"
#include "host/exit_status.hpp"
#include "host/stop.hpp"
#include "host/terminal.hpp"
#include "interop/qemu/monitor.hpp"
#include "interop/qemu/process.hpp"
#include "interop/vm/formats.hpp"
#include "plan/images.hpp"
#include "plan/restarts.hpp"
#include "plan/spec.hpp"
#include "run/ending.hpp"
#include "run/messages.hpp"
#include "text/json_text.hpp"

namespace cloister::toolstack {

namespace {

using Clock = std::chrono::steady_clock;
using hypervisor::Ending;
using std::chrono::milliseconds;

/// How often a stop that another thread asks for is looked at.
constexpr milliseconds tick{100};

/// What only the software silicon can do; empty: nothing of it was asked for.
std::string software_only(const RunArguments& arguments) {
  const std::pair<bool, const char*> options[] = {
      {!arguments.gdb_socket.empty(), "--gdb"},     {!arguments.trace.empty(), "--trace"},
      {arguments.deterministic, "--deterministic"}, {arguments.engine != Engine::automatic, "--engine"},
      {!arguments.machine.empty(), "--machine"},    {arguments.stats, "--stats"}};
  for (const auto& [asked, name] : options) {
    if (asked) return name;
  }
  return {};
}

/// Polls until QEMU has ended, or said what makes us end it; what it then was.
class Watch {
 public:
  Watch(qemu::Process& process, const StopSource& stop, std::optional<Clock::time_point> deadline,
        milliseconds patience)
      : process_(process), monitor_(process.monitor()), stop_(stop), deadline_(deadline), patience_(patience) {}

  /// nullopt: QEMU ended for a reason of its own.
  std::optional<Ending> wait() {
    while (true) {
      if (poll(tick)) return reason();
      if (monitor_.internal_error()) return end(Ending::crashed);
      if (stop_.flag() || stop_.shutdown()) return end(Ending::stopped);
      if (deadline_ && Clock::now() >= *deadline_) return end(Ending::timed_out);
    }
  }

 private:
  /// Waits for news; true if QEMU has ended, and all that it said was read.
  bool poll(milliseconds limit) {
    if (deadline_) {
      const auto left = std::chrono::ceil<milliseconds>(*deadline_ - Clock::now());
      limit = std::clamp(left, milliseconds(0), limit);
    }
    std::array<pollfd, 2> news{pollfd{process_.ended(), POLLIN, 0},
                               pollfd{speaks_ ? process_.monitor() : -1, POLLIN, 0}};
    if (::poll(news.data(), news.size(), static_cast<int>(limit.count())) < 0) return false;
    if (news[1].revents != 0) {
      speaks_ = monitor_.read();
      return false;
    }
    return news[0].revents != 0;
  }

  std::optional<Ending> reason() const {
    if (monitor_.shutdown_reason() == "guest-shutdown") return Ending::powered_off;
    if (monitor_.shutdown_reason() == "guest-reset") return Ending::reset;
    return std::nullopt;
  }

  Ending end(Ending why) {
    monitor_.quit();
    deadline_.reset();
    const Clock::time_point last = Clock::now() + patience_;
    while (!poll(tick) && Clock::now() < last) continue;
    return why;
  }

  qemu::Process& process_;
  qemu::Monitor monitor_;
  const StopSource& stop_;
  std::optional<Clock::time_point> deadline_;
  milliseconds patience_;
  bool speaks_ = true;
};

void report(Ending ending, const std::string& name) {
  switch (ending) {
    case Ending::powered_off: spdlog::info("cloister: {} powered off", name); break;
    case Ending::reset: spdlog::info("cloister: {} reset itself", name); break;
    case Ending::timed_out: spdlog::error("cloister: {} did not end in time", name); break;
    case Ending::stopped: spdlog::info("cloister: {} was stopped", name); break;
    case Ending::crashed: spdlog::error("cloister: {} crashed: KVM could not go on; QEMU says more above", name); break;
    case Ending::halted:  // QEMU goes on, and says nothing
    case Ending::saved: break;
  }
}

int run_machines(const RunArguments& arguments, const DomainConfig& config, const qemu::Host& host,
                 const std::string& program, std::vector<std::string> words) {
  std::optional<Clock::time_point> deadline;
  if (arguments.timeout_seconds > 0)
    deadline = Clock::now() +
               std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(arguments.timeout_seconds));
  StopSource stop;
  Patience patience(stop, deadline);
  const PatientMessages messages(patience);
  const RawTerminal terminal(STDIN_FILENO);
  std::optional<KeyPump> keys;
  if (terminal.active()) {
    keys.emplace(STDIN_FILENO, stop);
    spdlog::info("cloister: the console is this terminal; Ctrl-] ends the domain");
  }
  for (const std::string& word : {std::string("-chardev"), fmt::format("socket,id=monitor,fd={}", qemu::monitor_fd),
                                  std::string("-mon"), std::string("chardev=monitor,mode=control")})
    words.push_back(word);
  Restarts restarts(config);
  while (true) {
    auto process = qemu::Process::start(program, words, keys ? keys->keys() : STDIN_FILENO);
    if (!process) {
      spdlog::error("cloister: {}", process.error());
      return exit_status::failed;
    }
    const auto ending = Watch(*process, stop, deadline, host.patience).wait();
    if (ending) process->kill();
    const std::string end = process->reap();
    if (!ending) {
      spdlog::error("cloister: {}: QEMU ended by itself, with {}", config.name, end);
      return exit_status::failed;
    }
    report(*ending, config.name);
    const bool again = action_after(*ending, config) == Action::restart && !stop.flag() && !stop.shutdown();
    if (again && restarts_here(restarts, config.name, stop, deadline)) continue;
    return status_of(*ending, stop);
  }
}

/// Which key of the configuration a loss is of.
struct LossKey {
  std::string_view start, key;
};
constexpr LossKey loss_keys[] = {
    {"launch hash ", "lehash"}, {"a launch hash ", "lewr"}, {"feature ", "silicon"}, {"clock ", "rtc_timeoffset"}};

Diagnostic unsayable(const vm::Loss& loss, const DomainConfig& config) {
  const auto* found =
      std::ranges::find_if(loss_keys, [&](const LossKey& key) { return loss.what.starts_with(key.start); });
  const Position at = found == std::end(loss_keys) ? Position{} : config.position_of(found->key);
  return {at, fmt::format("{}: {}; --backend=software has it", loss.what, loss.why)};
}

/// A key whose value only the software silicon's machine can follow.
std::optional<Diagnostic> software_only(const DomainConfig& config) {
  constexpr std::pair<std::string_view, Action DomainConfig::*> actions[] = {
      {"on_poweroff", &DomainConfig::on_poweroff},
      {"on_reboot", &DomainConfig::on_reboot},
      {"on_crash", &DomainConfig::on_crash}};
  const auto refuse = [&](std::string_view key, std::string_view why) {
    return Diagnostic{config.position_of(key), fmt::format("'{}': {}; --backend=software has it", key, why)};
  };
  for (const auto& [key, action] : actions) {
    if (config.*action == Action::preserve) return refuse(key, "\"preserve\" is not for --backend=qemu");
  }
  if (!config.disks.empty()) return refuse("disk", "disks are not for --backend=qemu");
  if (!config.interfaces.empty()) return refuse("vif", "network interfaces are not for --backend=qemu");
  if (config.vsock) return refuse("vsock", "sockets to the host are not for --backend=qemu");
  if (config.virtio_console) return refuse("virtio_console", "a virtio console is not for --backend=qemu");
  if (config.rng) return refuse("rng", "a source of random bytes is not for --backend=qemu");
  if (config.epc_is_paged()) return refuse("epc_min", "KVM does not page the EPC of guests");
  if (config.cpus != CpuPlaces()) return refuse("cpus", "QEMU's processors run anywhere: no 'cpus'");
  if (config.engine != Engine::automatic)
    return refuse("engine", "the host's own processor runs the guest's code: no 'engine' but \"auto\"");
  if (!config.epc.empty() && config.sgx_platform && config.sgx_platform->keys != SgxPlatform::Keys::machine)
    return refuse("sgx_platform", "real SGX has the keys of the machine's processor alone, \"machine\"");
  return std::nullopt;
}

std::string json_of(const std::string& program, const QemuCommand& command) {
  const nlohmann::ordered_json all = {{"backend", "qemu"}, {"program", program}, {"arguments", command.arguments}};
  return json_text(all, 2) + "\n";
}

}  // namespace

tl::expected<QemuCommand, Diagnostic> qemu_command(const DomainConfig& config, const qemu::Host& host,
                                                   const vmx::Backend& silicon) {
  if (auto refused = software_only(config)) return tl::unexpected(std::move(*refused));
  auto machine = TRY(vm::from_config(config, silicon));
  machine.emulator = host.program;
  if (host.interpreted) {
    machine.type = "qemu";
    if (machine.cpu.mode == vm::CpuMode::host_passthrough) machine.cpu.mode = vm::CpuMode::maximum;
  }
  auto rendered = vm::to_qemu(machine);
  if (!rendered.losses.empty()) return tl::unexpected(unsayable(rendered.losses.front(), config));
  std::vector<std::vector<std::string>> options = {{"-no-user-config"},
                                                   {"-nodefaults"},
                                                   {"-display", "none"},
                                                   {"-chardev", "stdio,id=console"},
                                                   {"-serial", "chardev:console"}};
  // QEMU resets its machine itself, unless the run is to end with that.
  if (config.on_reboot == Action::destroy) options.push_back({"-no-reboot"});
  QemuCommand command{vm::qemu_argv(machine), std::move(rendered.text)};
  if (command.text.ends_with('\n')) command.text.pop_back();
  for (const std::vector<std::string>& option : options) {
    command.arguments.insert(command.arguments.end(), option.begin(), option.end());
    // None of these words needs quotes.
    command.text += fmt::format(" \\\n  {}", fmt::join(option, " "));
  }
  command.text += "\n";
  return command;
}

int run_on_qemu(const RunArguments& arguments, const DomainConfig& config, const vmx::Backend& silicon,
                const qemu::Host& host) {
  const auto refuse = [&](const Diagnostic& diagnostic) {
    spdlog::error("{}", format(arguments.file, diagnostic));
    return exit_status::bad_configuration;
  };
  if (const std::string option = software_only(arguments); !option.empty()) {
    spdlog::error("cloister: {} needs the software silicon: it is not for --backend=qemu", option);
    return exit_status::bad_configuration;
  }
  const auto command = qemu_command(config, host, silicon);
  if (!command) return refuse(command.error());
  if (arguments.dry_run) {
    const std::string text = arguments.json ? json_of(host.program, *command) : command->text;
    return print(text) ? exit_status::powered_off : exit_status::failed;
  }
  if (const auto images = read_images(config, false); !images) return refuse(images.error());
  const auto program = qemu::check_host(host, config);
  if (!program) {
    spdlog::error("cloister: QEMU cannot run {} here: {}. --backend=software (the default) can, on software silicon",
                  config.name, program.error());
    return exit_status::failed;
  }
  return run_machines(arguments, config, host, *program, command->arguments);
}

}  // namespace cloister::toolstack
