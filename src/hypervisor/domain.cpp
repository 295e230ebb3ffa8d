// Domain: its machine, laid out at creation, and one run of the loop.
#include "hypervisor/domain.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "arch/try.hpp"
#include "hypervisor/boot.hpp"
#include "hypervisor/crash.hpp"
#include "hypervisor/epc/clean.hpp"
#include "hypervisor/saving/live.hpp"
#include "hypervisor/saving/save.hpp"
#include "hypervisor/schedule.hpp"

namespace cloister::hypervisor {
namespace {

/// Lines that the silicon's own events add to the trace.
void trace_silicon(Machine& machine) {
  if (!machine.trace.wants().encls) return;
  for (const auto& processor : machine.processors) {
    processor->vcpu.set_encls_observer([&p = *processor](u32 leaf, u64 rcx, vmx::EnclsResult result) {
      Trace& trace = p.machine.trace;
      if (result.fault) {
        trace.line(p.now(), "encls", "leaf={:#x} rcx={:#x} fault={:#x}", leaf, rcx, *result.fault);
      } else {
        trace.line(p.now(), "encls", "leaf={:#x} rcx={:#x} rax={:#x}", leaf, rcx, result.rax);
      }
    });
  }
}

void trace_unimplemented(Machine& machine, const std::vector<vmx::Unimplemented>& list) {
  if (!machine.trace.wants().unimplemented) return;
  for (const auto& entry : list)
    machine.trace.line(machine.now(), "unimplemented", "what=\"{}\" count={} first_rip={:#x}", entry.what, entry.count,
                       entry.first_rip);
}

/// The domain's own CPUID says that its processors have the instruction.
bool is_offered(const policy::CpuidTable& cpuid, const vmx::Unimplemented& entry) {
  return std::ranges::all_of(entry.offered_by,
                             [&](const arch::CpuidBit& b) { return has(cpuid.get(b.leaf, b.subleaf), b); });
}

/// What was offered and is not there; counts of the same name are one. The rest raised #UD as it should.
void add_unimplemented(const policy::CpuidTable& cpuid, const std::vector<vmx::Unimplemented>& more,
                       std::vector<vmx::Unimplemented>& all) {
  for (const auto& entry : more) {
    if (!is_offered(cpuid, entry)) continue;
    const auto same = std::ranges::find(all, entry.what, &vmx::Unimplemented::what);
    if (same == all.end()) {
      all.push_back(entry);
    } else {
      same->count += entry.count;
    }
  }
}

}  // namespace

struct Domain::Impl {
  Impl(vmx::Package& owner, DomainSpec spec, std::vector<vmx::EpcSection> sections) : machine(owner, std::move(spec)) {
    machine.epc = std::move(sections);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  /// The next owner of the frames finds every page removed. No processor is left inside an enclave: every exit leaves
  /// it.
  ~Impl() { clean_epc(machine.package, machine.frames()); }

  Machine machine;
};

Domain::Domain() = default;
Domain::~Domain() = default;

namespace {

tl::expected<void, std::string> check(const vmx::Package& package, const DomainSpec& spec) {
  if (spec.vcpus < 1 || spec.vcpus > most_vcpus)
    return tl::unexpected(fmt::format("{} vCPUs: a domain has 1 to {}", spec.vcpus, most_vcpus));
  if (spec.clock == vmx::ClockMode::deterministic && !package.capabilities().deterministic_clock)
    return tl::unexpected(std::string("these processors have no deterministic clock"));
  if (spec.epc_paging != EpcPaging::none && !package.capabilities().epc_paging)
    return tl::unexpected(std::string("the EPC of these processors cannot be paged"));
  if (spec.epc_paging == EpcPaging::oss && !has_oss(package))
    return tl::unexpected(std::string("these processors have no OSS and ENCLV, by which their EPC is to be paged"));
  const std::size_t devices = spec.devices();
  if (devices != 0 && !spec.map.pci) return tl::unexpected(spec.name_of_device() + " needs a PCI bus");
  if (devices >= platform::pci::most_devices)
    return tl::unexpected(fmt::format("{} devices: a bus has places for {}", devices, platform::pci::most_devices - 1));
  if (spec.vsock.peers != nullptr && spec.clock == vmx::ClockMode::deterministic)
    return tl::unexpected(std::string("vsock is never the same twice: not with the deterministic clock"));
  return {};
}

}  // namespace

tl::expected<std::unique_ptr<Domain>, std::string> Domain::make(vmx::Package& package, DomainSpec spec,
                                                                std::vector<vmx::EpcSection> epc) {
  TRY(check(package, spec));
  std::unique_ptr<Domain> domain(new Domain);
  domain->impl_ = std::make_unique<Impl>(package, std::move(spec), std::move(epc));
  return domain;
}

tl::expected<std::unique_ptr<Domain>, std::string> Domain::create(vmx::Package& package, DomainSpec spec,
                                                                  std::vector<vmx::EpcSection> epc) {
  auto domain = TRY(make(package, std::move(spec), std::move(epc)));
  TRY(boot(domain->impl_->machine));
  return domain;
}

tl::expected<std::unique_ptr<Domain>, std::string> Domain::restore(vmx::Package& package, DomainSpec spec,
                                                                   std::vector<vmx::EpcSection> epc,
                                                                   const stream::Source& from) {
  stream::Reader reader(from);
  return restore(package, std::move(spec), std::move(epc), reader);
}

tl::expected<std::unique_ptr<Domain>, std::string> Domain::restore(vmx::Package& package, DomainSpec spec,
                                                                   std::vector<vmx::EpcSection> epc,
                                                                   stream::Reader& from) {
  TRY(may_load(spec, from));
  auto domain = TRY(make(package, std::move(spec), std::move(epc)));
  TRY(lay_out(domain->impl_->machine));
  TRY(load(domain->impl_->machine, from));
  return domain;
}

tl::expected<std::unique_ptr<Domain>, std::string> Domain::arrive(vmx::Package& package, DomainSpec spec,
                                                                  std::vector<vmx::EpcSection> epc,
                                                                  stream::Reader& from) {
  TRY(may_load(spec, from));
  auto domain = TRY(make(package, std::move(spec), std::move(epc)));
  TRY(lay_out(domain->impl_->machine));
  TRY(load_rounds(domain->impl_->machine, from));
  TRY(load(domain->impl_->machine, from));
  return domain;
}

tl::expected<std::unique_ptr<Domain>, std::string> Domain::arrive(
    vmx::Package& package, DomainSpec spec, std::vector<vmx::EpcSection> epc, stream::Reader& from,
    const vmx::MoveSession& session, const std::function<tl::expected<void, std::string>()>& all_but_root) {
  TRY(may_load(spec, from));
  auto domain = TRY(make(package, std::move(spec), std::move(epc)));
  Machine& machine = domain->impl_->machine;
  TRY(lay_out(machine));
  ArrivingEnclaves enclaves(machine.epc_pages.pages());
  TRY(load_rounds(machine, from, &enclaves));
  TRY(load(machine, from, &enclaves, all_but_root));
  TRY(std::move(enclaves).import(machine, session));
  return domain;
}

std::unique_ptr<LiveCopy> Domain::live_copy(stream::Writer& to) {
  return std::make_unique<LiveCopy>(impl_->machine, to);
}

tl::expected<void, std::string> Domain::save(const stream::Sink& to) {
  stream::Writer writer(to);
  return save(writer);
}

tl::expected<void, std::string> Domain::save(stream::Writer& to) { return hypervisor::save(impl_->machine, to); }

tl::expected<std::unique_ptr<Domain>, std::string> Domain::restore(vmx::Package& package, DomainSpec spec,
                                                                   std::vector<vmx::EpcSection> epc,
                                                                   stream::Reader& from,
                                                                   const vmx::MoveSession& session) {
  TRY(may_load(spec, from));
  auto domain = TRY(make(package, std::move(spec), std::move(epc)));
  Machine& machine = domain->impl_->machine;
  TRY(lay_out(machine));
  ArrivingEnclaves enclaves(machine.epc_pages.pages());
  TRY(load(machine, from, &enclaves));
  TRY(std::move(enclaves).import(machine, session));
  return domain;
}

tl::expected<void, std::string> Domain::commit_enclaves(const vmx::MoveToken& token) {
  return hypervisor::commit_enclaves(impl_->machine, token);
}

tl::expected<void, std::string> Domain::save(stream::Writer& to, const vmx::MoveSession& session, bool& left) {
  return hypervisor::save(impl_->machine, to, session, left);
}

tl::expected<void, std::string> Domain::take_enclaves_back(const vmx::MoveToken& token) {
  return hypervisor::take_enclaves_back(impl_->machine, token);
}

tl::expected<void, std::string> Domain::give_enclaves_up(const vmx::PlatformSecrets& secrets) {
  return hypervisor::give_enclaves_up(impl_->machine, secrets);
}

std::string Domain::why_enclaves_stay() const {
  const auto can = can_move_enclaves(impl_->machine);
  return can ? "" : can.error();
}

Outcome Domain::run(const RunOptions& options) {
  Machine& machine = impl_->machine;
  machine.trace = Trace(options.trace);
  trace_silicon(machine);
  machine.console.connect(options.console_out, options.console_in);
  machine.note = options.note;
  machine.fell_asleep = options.fell_asleep;

  std::unique_ptr<gdb::Debugger> debugger;
  if (options.gdb_listener >= 0) debugger = std::make_unique<gdb::Debugger>(options.gdb_listener, machine);
  {
    const MutexLock held(machine.lock);
    if (!machine.paused) machine.go_on();
  }
  const Stop stop = run_processors(machine, options, debugger.get());
  debugger.reset();

  machine.console.flush();
  Outcome outcome;
  outcome.ending = stop.ending;
  if (stop.ending == Ending::crashed) {
    const MutexLock lock(machine.lock);
    outcome.report = crash_report(*machine.processors[machine.stopped_by], stop.reason);
  }
  if (stop.ending == Ending::halted) outcome.report = stop.reason;
  for (const auto& processor : machine.processors) {
    processor->vcpu.set_encls_observer({});
    outcome.instructions += processor->vcpu.instructions();
    outcome.execution += processor->vcpu.execution();
    add_unimplemented(machine.spec.cpuid, processor->vcpu.unimplemented(), outcome.unimplemented);
  }
  trace_unimplemented(machine, outcome.unimplemented);
  machine.trace = {};
  return outcome;
}

void Domain::pause() { impl_->machine.pause(); }

bool Domain::pause_within(std::chrono::milliseconds most) { return impl_->machine.pause_within(most); }

void Domain::unpause() { impl_->machine.unpause(); }

bool Domain::paused() const {
  const MutexLock lock(impl_->machine.lock);
  return impl_->machine.paused;
}

bool Domain::evict_epc(arch::Gpa page) {
  Pager* const pager = impl_->machine.pager.get();
  return pager != nullptr && pager->evict(page);
}

void Domain::lend_epc(std::span<const vmx::EpcSection> frames, std::size_t range) {
  Machine& machine = impl_->machine;
  if (machine.pager != nullptr) return machine.pager->lend(frames);
  if (machine.fixed_epc != nullptr) machine.fixed_epc->lend(range, frames);
}

std::vector<vmx::EpcSection> Domain::give_epc_back(u64 most, std::span<const vmx::EpcSection> of) {
  Machine& machine = impl_->machine;
  if (machine.pager != nullptr) return machine.pager->give_back(most, of);
  return machine.fixed_epc == nullptr ? std::vector<vmx::EpcSection>() : machine.fixed_epc->give_back(most, of);
}

std::vector<std::vector<vmx::EpcSection>> Domain::epc_frames_by_range() const {
  const FixedEpc* const fixed = impl_->machine.fixed_epc.get();
  return fixed == nullptr ? std::vector<std::vector<vmx::EpcSection>>() : fixed->held();
}

u64 Domain::epc_missing() const {
  const FixedEpc* const fixed = impl_->machine.fixed_epc.get();
  return fixed == nullptr ? 0 : fixed->missing();
}

std::vector<vmx::EpcSection> Domain::epc_frames() const { return impl_->machine.frames(); }

void Domain::look_at_epc() {
  if (impl_->machine.pager != nullptr) impl_->machine.pager->look();
}

const PagerCounts* Domain::pager_counts() const {
  const Pager* const pager = impl_->machine.pager.get();
  return pager == nullptr ? nullptr : &pager->counts();
}

void Domain::set_epc_target(u64 pages) { impl_->machine.set_epc_target(pages); }

u64 Domain::epc_pages() const { return impl_->machine.epc_pages.pages(); }

void Domain::press_power_button() {
  Machine& machine = impl_->machine;
  const MutexLock lock(machine.lock);
  machine.press_power_button();
}

bool Domain::asleep() const {
  const MutexLock lock(impl_->machine.lock);
  return impl_->machine.sleep != Machine::Sleep::awake;
}

bool Domain::wake() {
  const MutexLock lock(impl_->machine.lock);
  return impl_->machine.wake();
}

tl::expected<void, std::string> Domain::send_nmi(u32 vcpu) {
  Machine& machine = impl_->machine;
  const MutexLock held(machine.lock);
  if (vcpu >= machine.processors.size())
    return tl::unexpected(fmt::format("there is no vCPU {}: the last is {}", vcpu, machine.processors.size() - 1));
  if (!machine.send_nmi(*machine.processors[vcpu]))
    return tl::unexpected(fmt::format("the guest has not started vCPU {}", vcpu));
  return {};
}

void Domain::reset() {
  Machine& machine = impl_->machine;
  const MutexLock lock(machine.lock);
  machine.end({Ending::reset, ""}, machine.bootstrap());
}

platform::RtcBattery Domain::battery() const {
  Machine& machine = impl_->machine;
  const MutexLock lock(machine.lock);
  return machine.rtc.battery(machine.now());
}

}  // namespace cloister::hypervisor
