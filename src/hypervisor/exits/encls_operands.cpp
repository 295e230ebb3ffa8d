// Addresses in 64-bit mode are canonical; else they are within DS, of a type that allows the access (SDM vol. 3A, 5.3).
#include "hypervisor/exits/encls_operands.hpp"

#include "hypervisor/instruction.hpp"

namespace cloister::hypervisor::exits {
namespace {

using arch::Gpa;

// Access rights of DS (SDM vol. 3C, table 25-2).
constexpr u32 code_bit = 8, expand_down = 4, writable = 2, readable = 2, unusable = 1u << 16;

/// The operand is where there is no memory, or the page is one that the guest has given back.
Fault no_memory(u64 linear) { return {arch::vector::pf, arch::pfec::p | arch::pfec::sgx, linear}; }

}  // namespace

Fault epc_fault(u64 linear, bool write) {
  return {arch::vector::pf, arch::pfec::p | arch::pfec::sgx | (write ? arch::pfec::wr : 0u), linear};
}

EnclsOperands::EnclsOperands(Processor& processor)
    : processor_(processor),
      machine_(processor.machine),
      general_(processor.vcpu.general()),
      system_(processor.vcpu.system()),
      wide_(code_bits(system_) == 64),
      memory_(processor.linear(system_, general_.rflags)) {}

void EnclsOperands::allowed() {
  require((system_.cr0 & arch::cr0::pg) != 0);
  require(wide_ || (ds().attributes & (code_bit | expand_down)) != expand_down);
}

void EnclsOperands::require(bool good) {
  if (!failed() && !good) end_ = general_protection;
}

void EnclsOperands::aligned(u64 address, u64 alignment) {
  require((address & (alignment - 1)) == 0 && (!wide_ || canonical(address)));
}

EpcOperand EnclsOperands::epc(u64 address, bool write) {
  require(addressable(address, 1, write));
  if (failed()) return {};
  const auto page = memory_.translate(arch::Gva{address}, write);
  if (page && machine_.is_epc(*page)) return {.page = Gpa{arch::page_base(page->value)}, .linear = address};
  end_ = !page ? page.error() : is_memory(*page) ? epc_fault(address, write) : no_memory(address);
  return {};
}

std::optional<EpcOperand> EnclsOperands::epc_or_not(u64 address) {
  require(addressable(address, 1, false));
  if (failed()) return std::nullopt;
  const auto page = memory_.translate(arch::Gva{address}, false);
  if (page && machine_.is_epc(*page)) return EpcOperand{.page = Gpa{arch::page_base(page->value)}, .linear = address};
  if (!page) {
    end_ = page.error();
  } else if (!is_memory(*page)) {
    end_ = no_memory(address);
  }
  return std::nullopt;
}

void EnclsOperands::bring(const EpcOperand& page) {
  if (failed()) return;
  switch (machine_.bring(page.page, processor_)) {
    case Pager::Need::there: break;
    case Pager::Need::lost:
    case Pager::Need::given: end_ = no_memory(page.linear); break;
    case Pager::Need::exhausted: stop_ = no_frame_for(page.page); break;
  }
}

std::optional<Fault> EnclsOperands::copy_in(u64 address, std::span<std::byte> to) {
  if (!addressable(address, to.size(), false)) return general_protection;
  const auto from = memory_.translate(arch::Gva{address}, false);
  if (!from) return from.error();
  if (machine_.memory.read(*from, to)) return std::nullopt;
  if (!machine_.is_epc(*from)) return no_memory(address);
  std::ranges::fill(to, std::byte{0xff});  // the abort page
  return std::nullopt;
}

tl::expected<Gpa, Fault> EnclsOperands::destination(u64 address, u64 bytes) {
  if (!addressable(address, bytes, true)) return tl::unexpected(general_protection);
  const auto to = memory_.would_translate(arch::Gva{address}, true);
  if (to && !machine_.is_epc(*to) && !is_memory(*to)) return tl::unexpected(no_memory(address));
  return to;
}

void EnclsOperands::store(u64 address, Gpa to, std::span<const std::byte> bytes) {
  [[maybe_unused]] const auto marked = memory_.translate(arch::Gva{address}, true);
  machine_.memory.write(to, bytes);
}

bool EnclsOperands::canonical(u64 address) const {
  return static_cast<u64>(static_cast<i64>(address << 16) >> 16) == address;
}

bool EnclsOperands::addressable(u64 address, u64 bytes, bool write) const {
  if (wide_) return canonical(address) && canonical(address + bytes - 1);
  const u32 rights = ds().attributes;
  if ((rights & unusable) != 0) return false;
  if (write ? (rights & (code_bit | writable)) != writable : (rights & (code_bit | readable)) == code_bit) return false;
  return u64{static_cast<u32>(address - ds().base)} + bytes - 1 <= ds().limit;
}

bool EnclsOperands::is_memory(Gpa address) const {
  std::byte byte{};
  return machine_.memory.read(address, {&byte, 1});
}

}  // namespace cloister::hypervisor::exits
