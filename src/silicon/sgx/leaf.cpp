// What leaves say of their operands: alignment, EPC or not, and the in-enclave operand rule (SDM vol. 3D, 36.5 and the
// leaves' operations).
#include "silicon/sgx/leaf.hpp"

#include "arch/try.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/sgx/guest_operands.hpp"

namespace cloister::silicon {

bool reserved_clear(const arch::Secinfo& secinfo) {
  return (secinfo.flags & ~arch::secinfo_flags::defined) == 0 && all_zero(secinfo.reserved);
}

tl::expected<std::optional<u32>, Miss> LeafContext::epc_or_not(u64 linear, Access access) {
  const auto page = TRY(operands_.page(linear, access));
  return page.epc_index;
}

tl::expected<LeafContext::EpcPage, Miss> LeafContext::epc_page(u64 linear, Access access, const char* check) {
  const auto page = TRY(operands_.page(linear, access));
  if (fails(check, !page.epc_index)) return epc_fault(linear, access);
  return EpcPage{epc_index_of(page.epc_index, page.physical, package.epc_pages()), page.physical};
}

tl::expected<u32, Miss> LeafContext::epc(u64 linear, Access access, const char* check) {
  const auto page = TRY(epc_page(linear, access, check));
  return page.index;
}

tl::unexpected<Miss> LeafContext::epc_fault(u64 linear, Access access) const {
  u32 code = arch::pfec::p | arch::pfec::sgx;
  if (access == Access::write) code |= arch::pfec::wr;
  if (operands_.user()) code |= arch::pfec::us;
  return tl::unexpected(Miss{.fault = {arch::vector::pf, true, code, linear}, .exit = {}});
}

tl::unexpected<Miss> LeafContext::busy(u64 linear) const {
  return tl::unexpected(busy(linear, SgxConflict::page_exception).error());
}

tl::expected<void, Miss> LeafContext::in_elrange(u64 linear, unsigned bytes, const char* check) const {
  if (fails(check, !cpu().enclave.in_elrange(linear) || !cpu().enclave.in_elrange(linear + bytes - 1)))
    return leaf_gp();
  return {};
}

tl::expected<u32, Miss> LeafContext::enclave_operand(u64 linear, Access access, const char* check) {
  if (fails(check, ".elrange", !cpu().enclave.in_elrange(linear))) return leaf_gp();
  if (!addressable(cpu(), linear, 1, access)) return leaf_gp();
  const auto translation = TRY(cpu().mmu->translate_raw(linear, access, cpu().mmu->data_mode()));
  if (fails(check, ".epc", !translation.epc_index)) return epc_fault(linear, access);
  const u32 index = epc_index_of(translation.epc_index, translation.physical, package.epc_pages());
  return enclave_page(index, linear, access, check).map([&] { return index; });
}

tl::expected<void, Miss> LeafContext::enclave_page(u32 index, u64 linear, Access access, const char* check) {
  const MutexLock held(package.mutex());
  const EpcmEntry& page = epcm(index);
  if (fails(check, ".valid", !page.valid) || fails(check, ".blocked", page.blocked) ||
      fails(check, ".settled", page.pending || page.modified) ||
      fails(check, ".type", page.type != arch::PageType::reg) ||
      fails(check, ".owner", page.secs != cpu().enclave.secs) ||
      fails(check, ".address", page.enclave_address != arch::page_base(linear)) ||
      fails(check, ".rights", !(access == Access::write ? page.write : page.read))) {
    return epc_fault(linear, access);
  }
  return {};
}

}  // namespace cloister::silicon
