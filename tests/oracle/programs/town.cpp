// The town's memory: the oracle's sandbox, three more pages of code behind it, and page tables that nobody may write.
#include "town.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "arch/sizes.hpp"

namespace cloister::programs {

namespace {

constexpr u64 physical = 0x10000, ram_bytes = 0x40000, tables = ram_bytes - 4 * arch::page_size;
constexpr u64 linear_bytes = sandbox::bytes + (Town::processors - 1) * arch::page_size;

u64 physical_of(u64 linear) { return physical + (linear - sandbox::base); }
u64 index(u64 linear, unsigned level) { return (linear >> (12 + 9 * level)) & 511; }

vmx::SystemRegs system_regs(u8 cpl) {
  vmx::SystemRegs s;
  s.cr0 = arch::cr0::pe | arch::cr0::pg | arch::cr0::et | arch::cr0::wp | arch::cr0::mp | arch::cr0::ne;
  s.cr3 = tables;
  s.cr4 = arch::cr4::pae | arch::cr4::osfxsr | arch::cr4::osxmmexcpt | arch::cr4::osxsave | arch::cr4::fsgsbase;
  s.efer = arch::efer::lme | arch::efer::lma | arch::efer::nxe;
  s.xcr0 = 3;
  const u16 rpl = cpl, dpl = static_cast<u16>(cpl << 5);
  for (vmx::Segment& seg : s.seg)
    seg = {static_cast<u16>((oracle::selector::data & ~3) | rpl), 0, 0xffff'ffff, static_cast<u16>(0xc093 | dpl)};
  s.seg[arch::seg_cs] = {static_cast<u16>((oracle::selector::code64 & ~3) | rpl), 0, 0xffff'ffff,
                         static_cast<u16>(0xa09b | dpl)};
  s.seg[arch::seg_gs].base = sandbox::gs_base;
  s.tr = {0x40, sandbox::tables, 0x67, 0x8b};
  s.gdtr = {sandbox::tables, 63};
  s.idtr = {sandbox::tables, 0};
  return s;
}

}  // namespace

Town::Town(const vmx::Backend& backend) : package_(backend.make_package({})), memory_(package_->make_memory()) {
  EXPECT_TRUE(memory_->map_ram(arch::Gpa{0}, ram_bytes));
  vmx::Controls controls;
  controls.exception_bitmap = ~u32{0};
  for (unsigned n = 0; n < processors; ++n) {
    vcpus_[n] = package_->make_vcpu(*memory_, {.apic_id = n, .clock = vmx::ClockMode::deterministic, .seed = n});
    vcpus_[n]->set_controls(controls);
  }
}

u64 Town::code_page(unsigned processor) {
  return processor == 0 ? sandbox::code : sandbox::data_end + (processor - 1) * arch::page_size;
}

void Town::make_tables() {
  const std::vector<std::byte> nothing(4 * arch::page_size);
  write(tables, nothing);
  for (unsigned level = 3; level > 0; --level) {
    const u64 at = tables + (3 - level) * arch::page_size;
    put(at + 8 * index(sandbox::base, level), (at + arch::page_size) | arch::pte::p | arch::pte::rw | arch::pte::us);
  }
  for (u64 page = sandbox::base; page < sandbox::base + linear_bytes; page += arch::page_size) {
    const u64 writable = page == sandbox::tables ? 0 : arch::pte::rw;
    put(tables + 3 * arch::page_size + 8 * index(page, 0), physical_of(page) | arch::pte::p | arch::pte::us | writable);
  }
}

void Town::reset(const Start& start) {
  make_tables();
  write(physical_of(sandbox::data), start.data);
  for (unsigned n = 0; n < processors; ++n) {
    write(physical_of(code_page(n)), start.code[n]);
    first_[n] = system_regs(start.cpl[n]);
    vcpus_[n]->set_system(first_[n]);
    go_on(n, start.general[n]);
  }
}

void Town::write(u64 at, std::span<const std::byte> bytes) { EXPECT_TRUE(memory_->write(arch::Gpa{at}, bytes)); }

lockstep::Sight Town::run(unsigned processor, u64 budget, vmx::ExitReason& reason) {
  vmx::Vcpu& vcpu = *vcpus_[processor];
  const vmx::Exit exit = vcpu.run(budget);
  reason = exit.reason;
  lockstep::Sight sight = lockstep::sight_of(processor, vcpu, exit);
  lockstep::look_closely(sight, vcpu);
  return sight;
}

void Town::go_on(unsigned processor, const vmx::GeneralRegs& general) {
  vmx::Vcpu& vcpu = *vcpus_[processor];
  const vmx::SystemRegs now = vcpu.system(), &first = first_[processor];
  const bool still = now.seg[arch::seg_cs] == first.seg[arch::seg_cs] && now.efer == first.efer &&
                     now.cr0 == first.cr0 && now.cr3 == first.cr3 && now.cr4 == first.cr4 && now.dr7 == first.dr7 &&
                     now.cpl == first.seg[arch::seg_cs].selector % 4;
  if (!still) vcpu.set_system(first);
  vcpu.set_general(general);
  vcpu.clear_interrupt_shadow();
}

u64 Town::memory_hash() {
  std::vector<std::byte> all(ram_bytes);
  EXPECT_TRUE(memory_->read(arch::Gpa{0}, all));
  return lockstep::hash(all);
}

u64 Town::instructions() const {
  u64 sum = 0;
  for (const auto& vcpu : vcpus_) sum += vcpu->instructions();
  return sum;
}

u64 Town::blocks() const {
  u64 sum = 0;
  for (const auto& vcpu : vcpus_) sum += vcpu->execution().blocks;
  return sum;
}

}  // namespace cloister::programs
