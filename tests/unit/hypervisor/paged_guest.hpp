// A machine with one processor, at CPL 0 in 64-bit mode, and EPC of which it has half: for handlers of exits, which a
// test calls itself. No thread runs the processor.
#pragma once

#include <gtest/gtest.h>

#include "guests.hpp"
#include "hypervisor/boot.hpp"
#include "hypervisor/exits/exits.hpp"

namespace cloister::hypervisor {

using arch::Gpa;
using arch::Mfn;
namespace pte = arch::pte;

inline constexpr u64 frames = 256, pages = 512;
inline constexpr Mfn first_frame{0x10'0000};
// Linear addresses: RAM where it is, EPC in a window; operands in RAM, a page each.
inline constexpr u64 window = 0x4000'0000, tables = 0x2'0000;
inline constexpr u64 pageinfo_at = 0x3'0000, secinfo_at = 0x3'1000, source_at = 0x3'2000, image_at = 0x3'3000,
                     pcmd_at = 0x3'4000, rdinfo_at = 0x3'5000;

inline silicon::Package::Config silicon_of(bool oss) {
  silicon::Package::Config config{.epc = {{first_frame, pages}}, .root_secret = {1}, .boot = 1};
  config.features.sgx.oss = config.features.sgx.enclv = oss;
  return config;
}
inline DomainSpec paged_spec(const silicon::Package& package, EpcPaging how, u32 hidden = 0) {
  DomainSpec spec = spec_of({});
  spec.map = *platform::make_memory_map(u64{16} << 20, pages * arch::page_size, 40);
  spec.epc_paging = how;
  spec.sgx_provision = true;
  spec.cpuid.set(arch::leaf::sgx, 0, {package.cpuid(arch::leaf::sgx, 0).eax & ~hidden, 0, 0, 0});
  return spec;
}

class PagedGuest : public testing::Test {
 protected:
  explicit PagedGuest(bool oss = false, EpcPaging how = EpcPaging::automatic, u32 hidden = 0)
      : package_(silicon_of(oss)), machine_(package_, paged_spec(package_, how, hidden)) {}

  void SetUp() override {
    machine_.epc = {{first_frame, frames}};
    ASSERT_TRUE(boot(machine_));
    map_linear();
    vmx::SystemRegs system = cpu().vcpu.system();
    system.cr3 = tables;
    system.cr4 |= arch::cr4::pae;
    system.efer |= arch::efer::lme | arch::efer::lma;
    system.cr0 |= arch::cr0::pg | arch::cr0::wp;
    system.seg[arch::seg_cs].attributes = 0xa09b;
    cpu().vcpu.set_system(system);
  }

  static constexpr u64 rip = 0x10'0000;

  Processor& cpu() { return machine_.bootstrap(); }
  Pager& pager() { return *machine_.pager; }
  Gpa at(u64 page) const { return machine_.epc_pages.address_of(EpcPage{page}); }
  static u64 linear_of(u64 page) { return window + page * arch::page_size; }

  template <class T>
  void put(u64 where, const T& value) {
    EXPECT_TRUE(machine_.memory.write(Gpa{where}, std::as_bytes(std::span(&value, 1))));
  }
  template <class T>
  T get(u64 where) const {
    T value{};
    EXPECT_TRUE(machine_.memory.read(Gpa{where}, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  /// The entry that maps a page of RAM below 2 MiB, and one of EPC.
  static u64 entry_of(u64 linear) {
    const u64 table = linear >= window ? tables + 0x4000 : tables + 0x5000;
    return table + (linear >> arch::page_shift) % 512 * sizeof(u64);
  }
  void map_linear() {
    constexpr u64 link = pte::p | pte::rw | pte::a;
    put(tables, (tables + 0x1000) | link);
    put(tables + 0x1000, (tables + 0x2000) | link);                // the first GiB
    put(tables + 0x1000 + sizeof(u64), (tables + 0x3000) | link);  // the second
    put(tables + 0x2000, (tables + 0x5000) | link);
    put(tables + 0x3000, (tables + 0x4000) | link);
    for (u64 i = 0; i < 512; ++i) {
      put(entry_of(i * arch::page_size), i * arch::page_size | pte::p | pte::rw);
      put(entry_of(linear_of(i)), at(i).value | pte::p | pte::rw);
    }
  }

  silicon::Package package_;
  Machine machine_;
};

}  // namespace cloister::hypervisor
