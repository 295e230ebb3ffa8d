// Single instructions on a processor without paging.
#include "silicon/engine/stepper.hpp"

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/state/fpu.hpp"

namespace cloister::silicon {

struct Stepper::Impl {
  MemoryImpl memory;
  PackageImpl package{PackageImpl::Config{}};
  std::unique_ptr<VcpuImpl> vcpu;
};

Stepper::Stepper(u64 memory_base, std::span<u8> memory, EngineKind engine) : impl_(std::make_unique<Impl>()) {
  impl_->memory.add_borrowed(memory_base, memory);
  impl_->vcpu = std::make_unique<VcpuImpl>(impl_->package, impl_->memory,
                                           VcpuImpl::Config{.clock = ClockMode::deterministic}, engine);
  Cpu& c = cpu();
  c.cr0 = arch::cr0::pe | arch::cr0::et | arch::cr0::ne | arch::cr0::mp;
  c.cr4 = arch::cr4::pae | arch::cr4::osfxsr | arch::cr4::osxmmexcpt | arch::cr4::osxsave | arch::cr4::fsgsbase;
  c.efer = arch::efer::sce | arch::efer::lme | arch::efer::lma | arch::efer::nxe;
  c.xcr0 = 3;
  c.cpl = 3;
  set_mode(CodeMode::bits64);
}

Stepper::~Stepper() = default;

Cpu& Stepper::cpu() { return impl_->vcpu->cpu(); }

void Stepper::set_mode(CodeMode mode) {
  Cpu& c = cpu();
  constexpr u32 flat = attr::s | attr::present | attr::g | attr::dpl;
  for (Segment& s : c.seg) s = {0x2b, 0, 0xffff'ffff, flat | 3 | attr::db};
  const bool wide = mode == CodeMode::bits64;
  c.seg[arch::seg_cs] = {static_cast<u16>(wide ? 0x33 : 0x23), 0, 0xffff'ffff,
                         flat | 0xb | (wide ? attr::l : attr::db)};
  update_mode(c);
}

void Stepper::set_rip(u64 rip) { cpu().rip = rip; }

Stepper::Result Stepper::step() {
  Cpu& c = cpu();
  Result r;
  c.pending_debug = 0;
  const auto missed = [&](const Miss& m) {
    if (m.is_exit && m.exit.reason == ExitReason::ept_violation) {
      // No paging: an address without memory is what an address without a translation would be.
      const EptQualification q = EptQualification::decode(m.exit.qualification);
      r.fault =
          Fault{arch::vector::pf, true,
                arch::pfec::us | (q.write ? arch::pfec::wr : 0) | (q.fetch ? arch::pfec::id : 0), m.exit.linear.value};
      r.fault_address = m.exit.linear.value;
    } else if (m.is_exit) {
      r.exited = true;
    } else {
      r.fault = m.fault;
      r.fault_address = m.fault.address;
    }
  };
  const auto block = c.blocks->at(c.rip, 1);
  if (!block) {
    missed(block.error());
    return r;
  }
  c.alone = true;  // there is no other processor
  enter_guest_fpu(c);
  impl_->vcpu->execute(**block, 1);
  leave_guest_fpu(c);
  switch (c.leave) {
    case Leave::jump:
    case Leave::part:
    case Leave::alone: break;
    case Leave::fault: missed({.fault = c.fault, .exit = {}}); break;
    case Leave::exit: missed({.is_exit = true, .fault = {}, .exit = c.exit}); break;
    case Leave::software_event: r.fault = Fault{c.event.vector, false, 0, 0}; break;
  }
  return r;
}

}  // namespace cloister::silicon
