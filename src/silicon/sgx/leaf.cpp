// Operands of SGX leaves: alignment, what page an address names, accesses, and the in-enclave operand rule (SDM vol.
// 3D, 36.5 and the leaves' operations).
#include "silicon/sgx/leaf.hpp"

#include <algorithm>
#include <cstring>

#include "silicon/memory/guest_bytes.hpp"
#include "silicon/mmu/access.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/state/debug.hpp"
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

/// Canonical in 64-bit mode, in DS otherwise.
bool addressable(const Cpu& cpu, u64 linear, unsigned bytes, Access access) {
  if (!cpu.code64) return !fails("OPERAND.segment", !in_segment(cpu, linear, bytes, access));
  return !fails("OPERAND.canonical", !is_canonical(linear) || !is_canonical(linear + bytes - 1));
}

/// The one or two pages of an operand, translated.
struct Pieces {
  struct Piece {
    PageTranslation page;
    u64 offset;
    unsigned bytes;
  };
  std::array<Piece, 2> piece;
  unsigned count = 0;
};

tl::expected<Pieces, Miss> pieces_of(Cpu& cpu, u64 linear, unsigned bytes, Access access) {
  Pieces pieces;
  for (unsigned done = 0; done < bytes;) {
    const u64 at = cpu.code64 ? linear + done : static_cast<u32>(linear + done);
    const unsigned n = std::min(bytes - done, static_cast<unsigned>(arch::page_size - arch::page_offset(at)));
    const auto page = cpu.mmu->translate_and_fill(at, access);
    if (!page) return tl::unexpected(page.error());
    pieces.piece[pieces.count++] = {*page, arch::page_offset(at), n};
    done += n;
  }
  note_data_access(cpu, linear, bytes, access);
  return pieces;
}

}  // namespace

bool reserved_clear(const arch::Secinfo& secinfo) {
  return (secinfo.flags & ~arch::secinfo_flags::defined) == 0 && all_zero(secinfo.reserved);
}

tl::expected<std::optional<u32>, Miss> LeafContext::epc_or_not(u64 linear, Access access) {
  if (!addressable(cpu, linear, 1, access)) return leaf_gp();
  const auto page = cpu.mmu->operand_page(linear, access);
  if (!page) return tl::unexpected(page.error());
  return page->epc_index;
}

tl::expected<LeafContext::EpcPage, Miss> LeafContext::epc_page(u64 linear, Access access, const char* check) {
  if (!addressable(cpu, linear, 1, access)) return leaf_gp();
  if (const PageTranslation* const page = cpu.mmu->known_operand(linear, access)) {
    return EpcPage{*page->epc_index, page->physical};
  }
  const auto page = cpu.mmu->operand_page(linear, access);
  if (!page) return tl::unexpected(page.error());
  if (fails(check, !page->epc_index)) return epc_fault(linear, access);
  return EpcPage{epc_index_of(page->epc_index, page->physical, package.epc_pages()), page->physical};
}

tl::expected<u32, Miss> LeafContext::epc(u64 linear, Access access, const char* check) {
  const auto page = epc_page(linear, access, check);
  if (!page) return tl::unexpected(page.error());
  return page->index;
}

tl::unexpected<Miss> LeafContext::epc_fault(u64 linear, Access access) const {
  u32 code = arch::pfec::p | arch::pfec::sgx;
  if (access == Access::write) code |= arch::pfec::wr;
  if (cpu.cpl == 3) code |= arch::pfec::us;
  return tl::unexpected(Miss{.fault = {arch::vector::pf, true, code, linear}, .exit = {}});
}

tl::expected<void, Miss> LeafContext::read(u64 linear, void* to, unsigned bytes) {
  if (!addressable(cpu, linear, bytes, Access::read)) return leaf_gp();
  if (const TlbEntry& e = cpu.tlb.at(linear); e.tag_read == tlb_tag(linear, bytes, cpu.context)) {
    copy_guest(to, reinterpret_cast<const u8*>(e.addend + linear), bytes);
    return {};
  }
  const auto pieces = pieces_of(cpu, linear, bytes, Access::read);
  if (!pieces) return tl::unexpected(pieces.error());
  u8* out = static_cast<u8*>(to);
  for (const auto& p : std::span(pieces->piece).first(pieces->count)) {
    if (p.page.host == nullptr) {
      std::memset(out, 0xff, p.bytes);  // the abort page
    } else {
      copy_guest(out, p.page.host + p.offset, p.bytes);
    }
    out += p.bytes;
  }
  return {};
}

tl::expected<void, Miss> LeafContext::write(u64 linear, const void* from, unsigned bytes) {
  if (!addressable(cpu, linear, bytes, Access::write)) return leaf_gp();
  if (const TlbEntry& e = cpu.tlb.at(linear); e.tag_write == tlb_tag(linear, bytes, cpu.context)) {
    copy_guest(reinterpret_cast<u8*>(e.addend + linear), from, bytes);
    return {};
  }
  const auto pieces = pieces_of(cpu, linear, bytes, Access::write);
  if (!pieces) return tl::unexpected(pieces.error());
  const u8* in = static_cast<const u8*>(from);
  for (const auto& p : std::span(pieces->piece).first(pieces->count)) {
    if (p.page.host != nullptr) {
      page_store(*p.page.state);
      copy_guest(p.page.host + p.offset, in, p.bytes);
    }
    in += p.bytes;
  }
  return {};
}

tl::unexpected<Miss> LeafContext::busy(u64 linear) const {
  return tl::unexpected(busy(linear, SgxConflict::page_exception).error());
}

tl::expected<void, Miss> LeafContext::in_elrange(u64 linear, unsigned bytes, const char* check) const {
  if (fails(check, !cpu.enclave.in_elrange(linear) || !cpu.enclave.in_elrange(linear + bytes - 1))) return leaf_gp();
  return {};
}

tl::expected<u32, Miss> LeafContext::enclave_operand(u64 linear, Access access, const char* check) {
  if (fails(check, ".elrange", !cpu.enclave.in_elrange(linear))) return leaf_gp();
  if (!addressable(cpu, linear, 1, access)) return leaf_gp();
  const auto translation = cpu.mmu->translate_raw(linear, access, cpu.mmu->data_mode());
  if (!translation) return tl::unexpected(translation.error());
  if (fails(check, ".epc", !translation->epc_index)) return epc_fault(linear, access);
  const u32 index = epc_index_of(translation->epc_index, translation->physical, package.epc_pages());
  return enclave_page(index, linear, access, check).map([&] { return index; });
}

tl::expected<void, Miss> LeafContext::enclave_page(u32 index, u64 linear, Access access, const char* check) {
  const MutexLock held(package.mutex());
  const EpcmEntry& page = epcm(index);
  if (fails(check, ".valid", !page.valid) || fails(check, ".blocked", page.blocked) ||
      fails(check, ".settled", page.pending || page.modified) ||
      fails(check, ".type", page.type != arch::PageType::reg) ||
      fails(check, ".owner", page.secs != cpu.enclave.secs) ||
      fails(check, ".address", page.enclave_address != arch::page_base(linear)) ||
      fails(check, ".rights", !(access == Access::write ? page.write : page.read))) {
    return epc_fault(linear, access);
  }
  return {};
}

}  // namespace cloister::silicon
