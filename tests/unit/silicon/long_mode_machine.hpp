// Processors in 64-bit mode at CPL 0 with paging that maps the first 2 MiB onto themselves, for tests that run code of
// their own.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/silicon.hpp"
#include "silicon/state/modes.hpp"

namespace cloister::silicon {

/// RAM from 0 on, in one slot; the tables lie in its last four pages.
class LongModeMachine {
 public:
  static constexpr u64 ram_bytes = 0x40000, tables = ram_bytes - 4 * arch::page_size;

  struct Processor {
    Vcpu vcpu;
    Cpu& cpu;

    Processor(LongModeMachine& machine, u64 rip)
        : vcpu(machine.package, machine.memory, Vcpu::Config{.clock = ClockMode::deterministic}),
          cpu(vcpu.impl().cpu()) {
      cpu.cr0 = arch::cr0::pe | arch::cr0::pg | arch::cr0::et | arch::cr0::wp;
      cpu.cr3 = tables;
      cpu.cr4 = arch::cr4::pae;
      cpu.efer = arch::efer::lme | arch::efer::lma;
      for (Segment& s : cpu.seg) s = {0x10, 0, 0xffff'ffff, 0xc093};
      cpu.seg[arch::seg_cs] = {0x08, 0, 0xffff'ffff, 0xa09b};
      update_mode(cpu);
      cpu.mmu->flush_all();
      cpu.rip = rip;
    }
    u64& reg(arch::Gpr r) { return cpu.gpr[r]; }
    /// Runs what lies at `at`, up to its HLT.
    void run_to_halt(u64 at) {
      const u64 back = std::exchange(cpu.rip, at);
      EXPECT_EQ(vcpu.run(~u64{0}).reason, ExitReason::hlt);
      cpu.rip = back;
    }
  };

  explicit LongModeMachine(EngineKind engine = EngineKind::interpreter) : package(Package::Config{}, engine) {
    EXPECT_TRUE(memory.map_ram(arch::Gpa{0}, ram_bytes));
    for (unsigned level = 0; level < 3; ++level) {
      const u64 at = tables + level * arch::page_size;
      put<u64>(at, (at + arch::page_size) | flags);
    }
    for (u64 page = 0; page < 0x20'0000; page += arch::page_size) map(page, page);
  }

  template <class T>
  void put(u64 at, T value) {
    EXPECT_TRUE(memory.write(arch::Gpa{at}, std::as_bytes(std::span(&value, 1))));
  }
  template <class T>
  T get(u64 at) {
    T value{};
    EXPECT_TRUE(memory.read(arch::Gpa{at}, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  void put_bytes(u64 at, std::initializer_list<u8> bytes) {
    EXPECT_TRUE(memory.write(arch::Gpa{at}, std::as_bytes(std::span(bytes.begin(), bytes.size()))));
  }
  void map(u64 linear, u64 physical) {
    put<u64>(tables + 3 * arch::page_size + linear / arch::page_size * 8, physical | flags);
  }
  u64 holds() {
    Shootdown& all = memory.impl().shootdown;
    const MutexLock lock(all.mutex);
    return all.holds;
  }

  Package package;
  GuestMemory memory;

 private:
  static constexpr u64 flags = arch::pte::p | arch::pte::rw | arch::pte::us;
};

}  // namespace cloister::silicon
