// Domain: its machine, laid out at creation, and one run of the loop.
#include "hypervisor/domain.hpp"

#include <fmt/format.h>

#include "hypervisor/boot.hpp"
#include "hypervisor/crash.hpp"
#include "hypervisor/epc.hpp"
#include "hypervisor/vcpu.hpp"

namespace cloister::hypervisor {
namespace {

Outcome failure(std::string why) {
  Outcome outcome;
  outcome.ending = Ending::crashed;
  outcome.report = std::move(why);
  return outcome;
}

/// Lines that the silicon's own events add to the trace.
void trace_silicon(Machine& machine) {
  if (!machine.trace.wants().encls) return;
  machine.vcpu.set_encls_observer([&machine](u32 leaf, u64 rcx, silicon::EnclsResult result) {
    if (result.fault) {
      machine.trace.line(machine.now(), "encls", "leaf={:#x} rcx={:#x} fault={:#x}", leaf, rcx, *result.fault);
    } else {
      machine.trace.line(machine.now(), "encls", "leaf={:#x} rcx={:#x} rax={:#x}", leaf, rcx, result.rax);
    }
  });
}

void trace_unimplemented(Machine& machine, const std::vector<silicon::Unimplemented>& list) {
  if (!machine.trace.wants().unimplemented) return;
  for (const auto& entry : list)
    machine.trace.line(machine.now(), "unimplemented", "what=\"{}\" count={} first_rip={:#x}", entry.what, entry.count,
                       entry.first_rip);
}

}  // namespace

struct Domain::Impl {
  Impl(silicon::Package& owner, DomainSpec spec, std::vector<silicon::EpcSection> sections)
      : package(owner), epc(std::move(sections)), machine(owner, std::move(spec)) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  /// The next owner of the frames finds every page removed. No processor is left inside an enclave: every exit leaves
  /// it.
  ~Impl() { clean_epc(package, epc); }

  silicon::Package& package;
  std::vector<silicon::EpcSection> epc;
  Machine machine;
};

Domain::Domain() = default;
Domain::~Domain() = default;

tl::expected<std::unique_ptr<Domain>, std::string> Domain::create(silicon::Package& package, DomainSpec spec,
                                                                  std::vector<silicon::EpcSection> epc) {
  if (spec.vcpus != 1) return tl::unexpected(fmt::format("{} vCPUs: a domain has one", spec.vcpus));
  std::unique_ptr<Domain> domain(new Domain);
  domain->impl_ = std::make_unique<Impl>(package, std::move(spec), std::move(epc));
  if (auto done = boot(domain->impl_->machine, domain->impl_->epc); !done) return tl::unexpected(done.error());
  return domain;
}

Outcome Domain::run(const RunOptions& options) {
  Machine& machine = impl_->machine;
  auto trace = Trace::open(options.trace);
  if (!trace) return failure(trace.error());
  machine.trace = std::move(*trace);
  trace_silicon(machine);
  machine.console.connect(options.console_out, options.console_in);

  std::unique_ptr<gdb::Debugger> debugger;
  if (!options.gdb_socket.empty()) {
    auto listening = gdb::Debugger::listen(options.gdb_socket, machine);
    if (!listening) return failure(listening.error());
    debugger = std::move(*listening);
  }
  const Stop stop = VcpuLoop(machine, options, debugger.get()).run();
  debugger.reset();

  machine.console.flush();
  machine.vcpu.set_encls_observer({});
  Outcome outcome{.ending = stop.ending,
                  .report = stop.ending == Ending::crashed ? crash_report(machine, stop.reason) : "",
                  .instructions = machine.vcpu.instructions(),
                  .unimplemented = machine.vcpu.unimplemented()};
  trace_unimplemented(machine, outcome.unimplemented);
  machine.trace = {};
  return outcome;
}

}  // namespace cloister::hypervisor
