// S3, suspend to RAM (ACPI 6.4, 16.1.3 and 7.4.2.4): RAM and the clock chip keep what they have, and nothing else does.
// The EPC loses its keys (SDM vol. 3D, 36.5): every page is EREMOVEd, a SECS after its children, so that a kernel that
// has not cleaned up finds every page invalid. Where the guest goes on it has said in the FACS.
#include <fmt/format.h>

#include "hypervisor/boot.hpp"
#include "hypervisor/epc/clean.hpp"
#include "hypervisor/machine.hpp"
#include "platform/acpi.hpp"

namespace cloister::hypervisor {
namespace {

constexpr u64 real_mode_end = 1 << 20;

/// Real mode at a linear address below 1 MiB, as CS:IP with an IP below 16 (ACPI 6.4, table 5.12).
void set_real_mode_entry(vmx::Vcpu& vcpu, u32 vector) {
  vmx::SystemRegs system = vcpu.system();
  vmx::Segment& cs = system.seg[arch::seg_cs];
  cs.selector = static_cast<u16>(vector >> 4);
  cs.base = u64{cs.selector} << 4;
  vcpu.set_system(system);
  vmx::GeneralRegs general = vcpu.general();
  general.rip = vector & 0xf;
  vcpu.set_general(general);
}

}  // namespace

std::optional<Stop> Machine::fall_asleep() {
  if (sleep != Sleep::awake) return std::nullopt;
  sleep = Sleep::falling_asleep;
  tell_all();
  left_guest_.wait(lock, [this]() CLOISTER_REQUIRES(lock) { return nothing_moves(); });
  std::vector<arch::Mfn> stuck;
  {
    // It costs time by pages used, and nobody enters the guest meanwhile.
    const MutexUnlock apart(lock);
    if (pager != nullptr) pager->forget();
    if (fixed_mover != nullptr) fixed_mover->pager().forget();
    stuck = clean_epc(package, frames());
  }
  if (!stuck.empty())
    return Stop{Ending::crashed,
                fmt::format("it fell asleep, and {} of its EPC pages cannot be removed", stuck.size())};
  for (const auto& processor : processors) processor->power_up();
  if (auto loaded = load_launch_hash(*this); !loaded) return Stop{Ending::crashed, loaded.error()};
  ioapic.reset();
  uart.reset();
  sleep = Sleep::asleep;
  if (power.event_waits()) {  // the button was pressed on the way
    wake();
  } else if (fell_asleep) {
    fell_asleep();
  }
  return std::nullopt;
}

bool Machine::wake() {
  if (sleep != Sleep::asleep) return false;
  platform::Facs facs;
  memory.read(arch::Gpa{platform::facs_base}, std::as_writable_bytes(std::span(&facs, 1)));
  Processor& first = bootstrap();
  if (facs.x_waking_vector != 0) {
    set_flat_entry(first.vcpu, facs.x_waking_vector);
  } else if (facs.waking_vector != 0 && facs.waking_vector < real_mode_end) {
    set_real_mode_entry(first.vcpu, facs.waking_vector);
  } else {
    end({Ending::crashed, fmt::format("it was woken, and left {:#x} as its waking vector", facs.waking_vector)}, first);
  }
  first.waits_for_startup = false;
  power.wake();
  sleep = Sleep::awake;
  tell_all();
  return true;
}

}  // namespace cloister::hypervisor
