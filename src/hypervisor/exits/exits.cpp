// Reason to handler (SDM vol. 3D, table C-1).
#include "hypervisor/exits/exits.hpp"

#include <algorithm>
#include <iterator>

namespace cloister::hypervisor::exits {
namespace {

using silicon::ExitReason;

struct Row {
  ExitReason reason;
  Handler handler;
};

constexpr Row rows[] = {
    {ExitReason::exception_or_nmi, exception},
    {ExitReason::external_interrupt, resume},
    {ExitReason::triple_fault, triple_fault},
    {ExitReason::interrupt_window, resume},
    {ExitReason::nmi_window, resume},
    {ExitReason::cpuid, cpuid},
    {ExitReason::hlt, hlt},
    {ExitReason::invd, cache_invalidation},
    {ExitReason::vmcall, vmcall},
    {ExitReason::cr_access, cr_access},
    {ExitReason::io, io},
    {ExitReason::rdmsr, rdmsr},
    {ExitReason::wrmsr, wrmsr},
    {ExitReason::monitor_trap_flag, resume},
    {ExitReason::pause, pause},
    {ExitReason::ept_violation, ept_violation},
    {ExitReason::preemption_timer, resume},
    {ExitReason::wbinvd, cache_invalidation},
    {ExitReason::xsetbv, xsetbv},
    {ExitReason::encls, encls},
};

}  // namespace

Handler handler_of(ExitReason reason) {
  const auto row = std::find_if(std::begin(rows), std::end(rows), [&](const Row& r) { return r.reason == reason; });
  return row == std::end(rows) ? nullptr : row->handler;
}

/// The loop looks at time, devices and pending interrupts before each entry: that is all that these exits ask for.
Result resume(Processor&, const silicon::Exit&) { return std::nullopt; }

}  // namespace cloister::hypervisor::exits
