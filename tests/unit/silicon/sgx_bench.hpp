// A bench for SGX leaves: a package, guest memory with RAM and EPC, and a processor whose leaves are called directly.
//
// Paging is off, in a 64-bit mode that no software could set up: linear and guest-physical addresses are one. The
// enclaves' ELRANGE lies over the EPC's mapping, so that page i of the EPC is its own place in the enclave. Pages are
// made by writing their EPCM entries.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/sgx/guest_operands.hpp"
#include "silicon/sgx/leaves/leaf_table.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

/// What software sees of a leaf.
struct Seen {
  std::optional<Fault> fault;
  std::optional<Exit> exit;
  std::optional<Code> code;  ///< none: RAX and the flags are unchanged

  bool done() const { return !fault && !exit; }
  bool ok() const { return done() && (!code || (code->error == arch::SgxError::success && !code->zf && !code->cf)); }
  bool gp() const { return fault && fault->vector == arch::vector::gp && fault->has_error && fault->error == 0; }
  /// #PF with the SGX bit at this address, whatever the access.
  bool pf(u64 address) const {
    constexpr u32 sgx = arch::pfec::p | arch::pfec::sgx;
    return fault && fault->vector == arch::vector::pf && fault->address == address && (fault->error & sgx) == sgx;
  }
  bool zf(arch::SgxError e) const { return done() && code && code->error == e && code->zf && !code->cf; }
  bool cf(arch::SgxError e) const { return done() && code && code->error == e && !code->zf && code->cf; }
  bool conflict(SgxConflict expected) const {
    return exit && exit->reason == ExitReason::sgx_conflict &&
           SgxConflictQualification::decode(exit->qualification).code == expected;
  }
};

inline std::ostream& operator<<(std::ostream& out, const Seen& s) {
  if (s.fault) {
    out << "fault " << int{s.fault->vector} << " error " << s.fault->error << " at " << std::hex << s.fault->address;
    return out << std::dec;
  }
  if (s.exit) return out << "exit " << name_of(s.exit->reason) << " qualification " << s.exit->qualification;
  if (!s.code) return out << "done";
  return out << "code " << static_cast<u64>(s.code->error) << " zf " << s.code->zf << " cf " << s.code->cf;
}

class SgxBench : public testing::Test {
 protected:
  static constexpr u32 pages = 32;
  static constexpr u64 ram = 0x10'0000, ram_bytes = 0x10'0000;
  static constexpr u64 epc = 0x4000'0000, elrange_bytes = 0x20'0000;
  static constexpr arch::Mfn first{0x8000};

  Package package_;
  GuestMemory memory_;
  Vcpu vcpu_{package_, memory_, Vcpu::Config{.clock = ClockMode::deterministic}};
  Package::Impl& package = package_.impl();
  Cpu& cpu = vcpu_.impl().cpu();

  explicit SgxBench(Features features = {})
      : package_({.epc = {{first, pages}}, .root_secret = {1, 2, 3}, .boot = 1, .features = std::move(features)}) {
    EXPECT_TRUE(memory_.map_ram(arch::Gpa{ram}, ram_bytes));
    EXPECT_TRUE(memory_.map_epc(arch::Gpa{epc}, first, pages));
    make_ready(cpu);
  }
  static void make_ready(Cpu& processor) {
    processor.cr0 = arch::cr0::pe;
    processor.code64 = true;
    processor.cpl = 0;
    processor.seg_base = {};
  }

  // ---- operands

  /// The address of a page of the EPC.
  static constexpr u64 at(u32 index) { return epc + index * arch::page_size; }
  EpcmEntry& entry(u32 index) { return package.epcm(index); }
  SecsPage& secs(u32 index) { return *reinterpret_cast<SecsPage*>(package.page(index)); }
  u8* bytes(u32 index) { return package.page(index); }

  template <class T>
  void put(u64 address, const T& value) {
    ASSERT_TRUE(memory_.write(arch::Gpa{address}, std::as_bytes(std::span(&value, 1))));
  }
  template <class T>
  T get(u64 address) {
    T value;
    EXPECT_TRUE(memory_.read(arch::Gpa{address}, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }

  Seen call(Leaf leaf, u64 rbx, u64 rcx, u64 rdx = 0) { return call_on(cpu, leaf, rbx, rcx, rdx); }
  Seen call_on(Cpu& processor, Leaf leaf, u64 rbx, u64 rcx, u64 rdx = 0) {
    processor.gpr[arch::rbx] = rbx;
    processor.gpr[arch::rcx] = rcx;
    processor.gpr[arch::rdx] = rdx;
    GuestOperands operands(processor);
    LeafContext context(operands, package, &processor);
    const LeafResult result = leaf(context);
    Seen seen;
    if (!result) {
      if (result.error().is_exit) {
        seen.exit = result.error().exit;
      } else {
        seen.fault = result.error().fault;
      }
    } else if (const Code* const code = std::get_if<Code>(&*result)) {
      seen.code = *code;
    }
    return seen;
  }

  void set_epc_virtualization(bool on) {
    Controls controls;
    controls.epc_virtualization = on;
    vcpu_.set_controls(controls);
  }

  // ---- pages

  /// An initialised 64-bit debug enclave with the bench's ELRANGE.
  void make_secs(u32 index, u64 eid = 77) {
    std::memset(bytes(index), 0, arch::page_size);
    arch::Secs& s = secs(index).architectural;
    s.base = epc;
    s.size = elrange_bytes;
    s.ssa_frame_size = 1;
    s.attributes = {arch::attributes::init | arch::attributes::debug | arch::attributes::mode64bit, 3};
    secs(index).live().eid = eid;
    claim_page(entry(index), 0, 0);
    entry(index).secs = index;
    entry(index).epoch = 1;
  }
  /// A page of the enclave at its own place, filled with `fill`.
  void make_child(u32 index, u32 owner, arch::PageType type = arch::PageType::reg, u64 rights = 3, u8 fill = 0) {
    std::memset(bytes(index), fill, arch::page_size);
    claim_page(entry(index), flags_of(type, rights), at(index));
    entry(index).secs = owner;
    ++entry(owner).children;
  }
  void make_va(u32 index) {
    std::memset(bytes(index), 0, arch::page_size);
    claim_page(entry(index), flags_of(arch::PageType::va, 0), 0);
  }
  static constexpr u64 flags_of(arch::PageType type, u64 rest) {
    return rest | (u64{static_cast<u8>(type)} << arch::secinfo_flags::page_type_shift);
  }

  // ---- threads

  /// This processor runs in the enclave.
  void go_inside(u32 secs_index) {
    cpu.cpl = 3;
    cpu.enclave.active = true;
    cpu.enclave.secs = secs_index;
    cpu.enclave.base = secs(secs_index).architectural.base;
    cpu.enclave.size = secs(secs_index).architectural.size;
    cpu.enclave.epoch = enter_enclave(entry(secs_index));
  }
  void go_outside() {
    leave_enclave(entry(cpu.enclave.secs), cpu.enclave.epoch);
    cpu.enclave = {};
    cpu.cpl = 0;
  }
};

}  // namespace cloister::silicon
