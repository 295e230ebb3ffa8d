#include "machine.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "arch/sizes.hpp"

namespace cloister::programs {

namespace {

/// Where what is linear lies.
constexpr u64 physical = 0x10000;
constexpr u64 ram_bytes = 0x40000, tables = ram_bytes - 4 * arch::page_size;

u64 physical_of(u64 linear) { return physical + (linear - sandbox::base); }
u64 index(u64 linear, unsigned level) { return (linear >> (12 + 9 * level)) & 511; }

}  // namespace

Machine::Machine(const vmx::Backend& backend) : package_(backend.make_package({})), memory_(package_->make_memory()) {
  EXPECT_TRUE(memory_->map_ram(arch::Gpa{0}, ram_bytes));
  // Level 3 first: each table's entry leads to the next page.
  for (unsigned level = 3; level > 0; --level) {
    const u64 at = tables + (3 - level) * arch::page_size;
    put(at + 8 * index(sandbox::base, level), (at + arch::page_size) | arch::pte::p | arch::pte::rw | arch::pte::us);
  }
  vcpu_ = package_->make_vcpu(*memory_, {.clock = vmx::ClockMode::deterministic, .seed = 1});
  vmx::Controls controls;
  controls.exception_bitmap = ~u32{0};
  vcpu_->set_controls(controls);
  first_ = vcpu_->system();
  first_.cr0 = arch::cr0::pe | arch::cr0::pg | arch::cr0::et | arch::cr0::wp | arch::cr0::mp | arch::cr0::ne;
  first_.cr3 = tables;
  first_.cr4 = arch::cr4::pae | arch::cr4::osfxsr | arch::cr4::osxmmexcpt | arch::cr4::osxsave | arch::cr4::fsgsbase;
  first_.efer = arch::efer::lme | arch::efer::lma | arch::efer::nxe;
  first_.xcr0 = 3;
  for (vmx::Segment& s : first_.seg) s = {oracle::selector::data, 0, 0xffff'ffff, 0xc0f3};
  first_.seg[arch::seg_cs] = {oracle::selector::code64, 0, 0xffff'ffff, 0xa0fb};
  first_.seg[arch::seg_gs].base = sandbox::gs_base;
  first_.tr = {0x40, sandbox::tables, 0x67, 0x8b};
  first_.gdtr = {sandbox::tables, 63};
  first_.idtr = {sandbox::tables, 0};
}

void Machine::map(u64 linear, Access access) {
  u64 entry = 0;
  if (access != Access::none) entry = physical_of(linear) | arch::pte::p | arch::pte::us;
  if (access == Access::write) entry |= arch::pte::rw;
  put(tables + 3 * arch::page_size + 8 * index(linear, 0), entry);
}

void Machine::reset(const vmx::GeneralRegs& general, const vmx::FxsaveImage& fpu, std::span<const Access> data,
                    bool writes_code) {
  map(sandbox::code, writes_code ? Access::write : Access::read);
  map(sandbox::tables, Access::read);
  u64 page = sandbox::data;
  for (const Access access : data) {
    map(page, access);
    page += arch::page_size;
  }
  vcpu_->set_system(first_);
  vcpu_->set_general(general);
  vcpu_->set_fpu(fpu);
  vcpu_->clear_interrupt_shadow();
}

void Machine::write(u64 linear, std::span<const std::byte> bytes) {
  EXPECT_TRUE(memory_->write(arch::Gpa{physical_of(linear)}, bytes));
}

u64 Machine::memory_hash() {
  std::array<std::byte, sandbox::bytes> all{};
  EXPECT_TRUE(memory_->read(arch::Gpa{physical}, all));
  return lockstep::hash(all);
}

lockstep::Sight Machine::run(u64 budget, vmx::ExitReason& reason) {
  const vmx::Exit exit = vcpu_->run(budget);
  reason = exit.reason;
  lockstep::Sight sight = lockstep::sight_of(0, *vcpu_, exit);
  lockstep::look_closely(sight, *vcpu_);
  return sight;
}

void Machine::go_on(u64 rip) {
  vmx::GeneralRegs general = vcpu_->general();
  general.rip = rip;
  general.rflags &= ~(arch::rflags::tf | arch::rflags::rf);
  const vmx::SystemRegs now = vcpu_->system();
  const bool still = now.cpl == 3 && now.seg[arch::seg_cs] == first_.seg[arch::seg_cs] && now.efer == first_.efer;
  if (!still) vcpu_->set_system(first_);
  vcpu_->set_general(general);
  vcpu_->clear_interrupt_shadow();
}

}  // namespace cloister::programs
