// ECREATE for a guest, in the order of the leaf's own checks (SDM vol. 3D, 38.3, ECREATE: Operation): the hypervisor
// looks at the operands' addresses, and the leaf, run in root mode, at everything else.
#include "hypervisor/exits/ecreate.hpp"

#include "hypervisor/instruction.hpp"

namespace cloister::hypervisor::exits {
namespace {

using arch::Gpa;
using Done = tl::expected<void, Fault>;

constexpr Fault gp{arch::vector::gp, 0, 0};

// Access rights of DS (SDM vol. 3C, table 25-2).
constexpr u32 code = 8, expand_down = 4, writable = 2, readable = 2, unusable = 1u << 16;

/// What is not EPC where EPC should be, and what the EPCM forbids.
Fault epc_fault(u64 linear) { return {arch::vector::pf, arch::pfec::p | arch::pfec::wr | arch::pfec::sgx, linear}; }
/// ENCLS's operand is where there is no memory.
Fault no_memory(u64 linear) { return {arch::vector::pf, arch::pfec::p | arch::pfec::sgx, linear}; }

/// The guest's linear memory as operands of ENCLS reach it: at CPL 0, relative to DS.
class Operands {
 public:
  explicit Operands(Processor& processor)
      : machine_(processor.machine),
        general_(processor.vcpu.general()),
        system_(processor.vcpu.system()),
        wide_(code_bits(system_) == 64),
        memory_(processor.linear(system_, general_.rflags)) {}

  u64 at(arch::Gpr offset) const { return linear(general_.gpr[offset]); }
  u64 linear(u64 offset) const { return wide_ ? offset : static_cast<u32>(offset + ds().base); }

  /// What ENCLS checks before its operands.
  bool allowed() const {
    if ((system_.cr0 & arch::cr0::pg) == 0) return false;
    return wide_ || (ds().attributes & (code | expand_down)) != expand_down;
  }

  Done aligned(u64 address, u64 alignment) const {
    const bool good = (address & (alignment - 1)) == 0 && (!wide_ || canonical(address));
    return good ? Done() : tl::unexpected(gp);
  }

  /// The guest-physical address of an EPC page that is to be written.
  tl::expected<Gpa, Fault> epc_page(u64 address) {
    if (!addressable(address, 1, true)) return tl::unexpected(gp);
    const auto page = memory_.translate(arch::Gva{address}, true);
    if (!page || machine_.is_epc(*page)) return page;
    std::byte byte{};
    const bool ram = machine_.memory.read(*page, {&byte, 1});
    return tl::unexpected(ram ? epc_fault(address) : no_memory(address));
  }

  /// Copies an operand that lies in one page.
  template <class T>
  Done read(u64 address, T& to) {
    if (!addressable(address, sizeof to, false)) return tl::unexpected(gp);
    const auto from = memory_.translate(arch::Gva{address}, false);
    if (!from) return tl::unexpected(from.error());
    const auto bytes = std::as_writable_bytes(std::span(&to, 1));
    if (machine_.memory.read(*from, bytes)) return {};
    if (!machine_.is_epc(*from)) return tl::unexpected(no_memory(address));
    std::ranges::fill(bytes, std::byte{0xff});  // the abort page
    return {};
  }

 private:
  const vmx::Segment& ds() const { return system_.seg[arch::seg_ds]; }

  static bool canonical(u64 address) { return static_cast<u64>(static_cast<i64>(address << 16) >> 16) == address; }

  /// Canonical in 64-bit mode; else within DS, of a type that allows the access (SDM vol. 3A, 5.3).
  bool addressable(u64 address, u64 bytes, bool write) const {
    if (wide_) return canonical(address) && canonical(address + bytes - 1);
    const u32 rights = ds().attributes;
    if ((rights & unusable) != 0) return false;
    if (write ? (rights & (code | writable)) != writable : (rights & (code | readable)) == code) return false;
    return u64{static_cast<u32>(address - ds().base)} + bytes - 1 <= ds().limit;
  }

  Machine& machine_;
  vmx::GeneralRegs general_;
  vmx::SystemRegs system_;
  bool wide_;
  LinearMemory memory_;
};

/// A page that can be copied whole.
struct alignas(arch::page_size) SecsCopy {
  arch::Secs secs{};
};
struct alignas(64) SecinfoCopy {
  arch::Secinfo secinfo{};
};

Done create(Processor& processor) {
  Operands operands(processor);
  if (!operands.allowed()) return tl::unexpected(gp);
  const u64 pageinfo_at = operands.at(arch::rbx), page_at = operands.at(arch::rcx);
  if (auto ok = operands.aligned(pageinfo_at, sizeof(arch::Pageinfo)); !ok) return ok;
  if (auto ok = operands.aligned(page_at, arch::page_size); !ok) return ok;
  const auto page = operands.epc_page(page_at);
  if (!page) return tl::unexpected(page.error());

  arch::Pageinfo info;
  if (auto ok = operands.read(pageinfo_at, info); !ok) return ok;
  const u64 source = operands.linear(info.srcpge), secinfo_at = operands.linear(info.secinfo);
  if (auto ok = operands.aligned(source, arch::page_size); !ok) return ok;
  if (auto ok = operands.aligned(secinfo_at, sizeof(arch::Secinfo)); !ok) return ok;
  if (info.linaddr != 0 || info.secs != 0) return tl::unexpected(gp);
  SecinfoCopy secinfo;
  if (auto ok = operands.read(secinfo_at, secinfo.secinfo); !ok) return ok;

  // The leaf looks at the EPCM before it reads the SECS. A SECS of zeros creates nothing and shows what it found there.
  SecsCopy copy;
  Done refused = operands.read(source, copy.secs);
  if (refused && (copy.secs.attributes.flags & arch::attributes::provisionkey) != 0) refused = tl::unexpected(gp);
  if (!refused) copy.secs = {};
  const auto frame = processor.machine.frame_of(*page, processor);
  if (!frame) return tl::unexpected(epc_fault(page_at));
  vmx::EnclsResult result;
  {
    const RootLeaves::Running leaf(processor.machine.root_leaves);
    result = processor.machine.package.ecreate(*frame, secinfo.secinfo, copy.secs, *page);
  }
  if (!result.fault) return {};
  if (*result.fault == arch::vector::pf) return tl::unexpected(epc_fault(page_at));
  return refused ? tl::unexpected(gp) : refused;
}

}  // namespace

Result ecreate(Processor& processor, const vmx::Exit& exit) {
  const Done done = create(processor);
  Trace& trace = processor.machine.trace;
  const u64 rcx = processor.vcpu.general().gpr[arch::rcx];
  if (done) {
    if (trace.wants().encls) trace.line(processor.now(), "encls", "leaf=0x0 rcx={:#x} rax=0x0", rcx);
    processor.complete(exit);
  } else {
    if (trace.wants().encls)
      trace.line(processor.now(), "encls", "leaf=0x0 rcx={:#x} fault={:#x}", rcx, done.error().vector);
    processor.raise(done.error());
  }
  return std::nullopt;
}

}  // namespace cloister::hypervisor::exits
