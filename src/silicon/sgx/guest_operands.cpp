// Operands at a guest's linear addresses: what an address names, and accesses (SDM vol. 3D, 36.5; vol. 3A, 5.3).
#include "silicon/sgx/guest_operands.hpp"

#include "arch/try.hpp"
#include "silicon/isa/system/descriptor.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/mmu/access.hpp"
#include "silicon/mmu/pieces.hpp"
#include "silicon/sgx/check.hpp"
#include "silicon/state/processor.hpp"

namespace cloister::silicon {

namespace {

/// In DS, which is of a type that allows the access (SDM vol. 3A, 5.3).
bool in_segment(const Cpu& cpu, u64 linear, unsigned bytes, Access access) {
  const Segment& ds = cpu.seg[arch::seg_ds];
  if ((ds.attributes & attr::unusable) != 0) return false;
  const bool code = (ds.attributes & attr::code) != 0;
  if (access == Access::write && (code || (ds.attributes & attr::writable) == 0)) return false;
  if (access == Access::read && code && (ds.attributes & attr::readable) == 0) return false;
  const u32 offset = static_cast<u32>(linear - cpu.seg_base[arch::seg_ds]);
  const u64 last = u64{offset} + bytes - 1;
  // Only ENCLU gets here with an expand-down segment: all but the addresses up to its limit.
  const bool expand_down = !code && (ds.attributes & attr::expand_down) != 0;
  if (!expand_down) return last <= ds.limit;
  return offset > ds.limit && last <= ((ds.attributes & attr::db) != 0 ? 0xffff'ffffu : 0xffffu);
}

tl::unexpected<Miss> gp() { return tl::unexpected(fault_miss(arch::vector::gp, 0)); }

}  // namespace

bool addressable(const Cpu& cpu, u64 linear, unsigned bytes, Access access) {
  if (!cpu.code64) return !fails("OPERAND.segment", !in_segment(cpu, linear, bytes, access));
  return !fails("OPERAND.canonical", !is_canonical(linear) || !is_canonical(linear + bytes - 1));
}

bool GuestOperands::canonical(u64 linear) const { return !cpu_.code64 || is_canonical(linear); }

tl::expected<OperandSource::Page, Miss> GuestOperands::page(u64 linear, Access access) {
  if (!addressable(cpu_, linear, 1, access)) return gp();
  if (const PageTranslation* const known = cpu_.mmu->known_operand(linear, access)) {
    return Page{known->epc_index, known->physical};
  }
  const auto page = TRY(cpu_.mmu->operand_page(linear, access));
  return Page{page.epc_index, page.physical};
}

tl::expected<void, Miss> GuestOperands::read(u64 linear, void* to, unsigned bytes) {
  if (!addressable(cpu_, linear, bytes, Access::read)) return gp();
  if (const TlbEntry& e = cpu_.tlb.at(linear); e.tag_read == tlb_tag(linear, bytes, cpu_.context)) {
    copy_guest(to, reinterpret_cast<const u8*>(e.addend + linear), bytes);
    return {};
  }
  const auto pieces = TRY(translate_pieces(cpu_, linear, bytes, Access::read));
  read_pieces(pieces, to);
  return {};
}

tl::expected<void, Miss> GuestOperands::write(u64 linear, const void* from, unsigned bytes) {
  if (!addressable(cpu_, linear, bytes, Access::write)) return gp();
  if (const TlbEntry& e = cpu_.tlb.at(linear); e.tag_write == tlb_tag(linear, bytes, cpu_.context)) {
    copy_guest(reinterpret_cast<u8*>(e.addend + linear), from, bytes);
    return {};
  }
  const auto pieces = TRY(translate_pieces(cpu_, linear, bytes, Access::write));
  const u8* in = static_cast<const u8*>(from);
  for (const auto& p : std::span(pieces.piece).first(pieces.count)) {
    if (p.page.host != nullptr) {
      page_store(*p.page.state);
      copy_guest(p.page.host + p.offset, in, p.bytes);
    }
    in += p.bytes;
  }
  return {};
}

}  // namespace cloister::silicon
