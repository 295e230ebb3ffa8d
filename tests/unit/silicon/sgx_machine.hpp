// A processor, RAM and EPC for tests that call the SGX leaves directly: paging is off, so that linear addresses are
// guest-physical ones, and the mode says 64-bit.
#pragma once

#include <cstring>

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/sgx/guest_operands.hpp"
#include "silicon/sgx/leaves/leaf_table.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

class SgxMachine {
 public:
  static constexpr u64 ram = 0x10000, ram_bytes = 0x20000;
  static constexpr u64 epc = 0x100000, epc_pages = 64;
  static constexpr arch::Mfn first_frame{0x80000};

  // Where the operands of a leaf lie in RAM.
  static constexpr u64 pageinfo = ram, secinfo = ram + 0x40, source = ram + 0x1000, sigstruct = ram + 0x2000,
                       token = ram + 0x3000;
  /// ELRANGE of the enclaves that the helpers build.
  static constexpr u64 base = epc & ~u64{0xfffff}, size = 0x40000;

  static Package::Config plain_config(const RootSecret& root = {1}, u64 boot = 1) {
    return {.epc = {{first_frame, epc_pages}}, .root_secret = root, .boot = boot};
  }

  /// `config`: with the same section.
  explicit SgxMachine(Package::Config config = plain_config())
      : package_(std::move(config)), vcpu_(package_, memory_, {}) {
    (void)memory_.map_ram(arch::Gpa{ram}, ram_bytes);
    (void)memory_.map_epc(arch::Gpa{epc}, first_frame, epc_pages);
    cpu().efer |= arch::efer::lme | arch::efer::lma;
    cpu().code64 = true;
  }

  Cpu& cpu() { return vcpu_.impl().cpu(); }
  Vcpu& vcpu() { return vcpu_; }
  Package::Impl& package() { return package_.impl(); }
  Package& door() { return package_; }
  GuestMemory& memory() { return memory_; }
  EpcmEntry& epcm(u32 index) { return package().epcm(index); }
  SecsPage& secs(u32 index) { return *reinterpret_cast<SecsPage*>(package().page(index)); }
  static constexpr u64 page(u32 index) { return epc + index * arch::page_size; }

  template <class T>
  void put(u64 at, const T& value) {
    (void)memory_.write(arch::Gpa{at}, std::as_bytes(std::span(&value, 1)));
  }

  /// Runs a leaf; RAX of one that returns a code, else 0. A fault is -vector.
  i64 run(Leaf leaf, u64 rbx, u64 rcx, u64 rdx = 0) {
    cpu().gpr[arch::rbx] = rbx;
    cpu().gpr[arch::rcx] = rcx;
    cpu().gpr[arch::rdx] = rdx;
    GuestOperands operands(cpu());
    LeafContext ctx(operands, package(), &cpu());
    const LeafResult result = leaf(ctx);
    if (!result) {
      fault = result.error().fault;
      return -i64{fault.vector};
    }
    const Code* const code = std::get_if<Code>(&*result);
    return code != nullptr ? static_cast<i64>(code->error) : 0;
  }
  Fault fault;  ///< of the last leaf that faulted

  /// A SECS that ECREATE takes.
  static arch::Secs plain_secs() {
    arch::Secs s{};
    s.size = size;
    s.base = base;
    s.ssa_frame_size = 1;
    s.attributes = {arch::attributes::mode64bit | arch::attributes::debug, 3};
    return s;
  }
  i64 ecreate_page(u32 index, const arch::Secs& s) {
    put(pageinfo, arch::Pageinfo{0, source, secinfo, 0});
    put(secinfo, arch::Secinfo{});
    put(source, s);
    return run(ecreate, pageinfo, page(index));
  }
  static constexpr u64 flags_of(arch::PageType type, u64 rights) { return rights | (static_cast<u64>(type) << 8); }
  template <class Page>
  i64 eadd_page(u32 index, u32 secs_index, u64 linear, u64 secinfo_flags, const Page& content) {
    static_assert(sizeof(Page) == arch::page_size);
    put(pageinfo, arch::Pageinfo{linear, source, secinfo, page(secs_index)});
    put(secinfo, arch::Secinfo{secinfo_flags, {}});
    put(source, content);
    return run(eadd, pageinfo, page(index));
  }
  i64 einit_secs(u32 secs_index, const arch::Sigstruct& sig, const arch::Einittoken& t = {}) {
    put(sigstruct, sig);
    put(token, t);
    return run(einit, sigstruct, page(secs_index), token);
  }
  /// Enclave mode, as far as leaves of ENCLU look at it.
  void enter(u32 secs_index) {
    EnclaveState& e = cpu().enclave;
    e.active = true;
    e.secs = secs_index;
    e.base = secs(secs_index).architectural.base;
    e.size = secs(secs_index).architectural.size;
    cpu().cpl = 3;
  }
  void leave() {
    cpu().enclave = {};
    cpu().cpl = 0;
  }

 private:
  Package package_;
  GuestMemory memory_;
  Vcpu vcpu_;
};

using EpcBytes = std::array<u8, arch::page_size>;

}  // namespace cloister::silicon
