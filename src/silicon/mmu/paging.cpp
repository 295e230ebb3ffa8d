// The page walk: 32-bit, PAE and 4-level paging (SDM vol. 3A, 4.3 to 4.7), on tables in guest-physical memory.
#include "arch/try.hpp"
#include "silicon/mmu/mmu.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/state/processor.hpp"

namespace cloister::silicon {

namespace pte = arch::pte;
namespace pfec = arch::pfec;

namespace {
constexpr u64 address_bits(unsigned high, unsigned low) { return ((u64{1} << high) - 1) & ~((u64{1} << low) - 1); }
constexpr u64 reserved_physical = ~((u64{1} << physical_address_bits) - 1) & ((u64{1} << 52) - 1);

/// Sets accessed (and dirty) flags in an entry, atomically. False if another processor has changed the entry since it
/// was read: the walk starts over, for it may not be present any more.
template <class T>
bool set_flags(u8* host, PageState* state, T entry, T flags) {
  if (state == nullptr || (entry & flags) == flags) return true;
  T* const place = reinterpret_cast<T*>(host);
  const bool same = __atomic_compare_exchange_n(place, &entry, static_cast<T>(entry | flags), false, __ATOMIC_SEQ_CST,
                                                __ATOMIC_RELAXED);
  page_store(*state);
  return same;
}
}  // namespace

Miss Mmu::page_fault(u64 linear, Access access, AccessMode mode, u32 code) const {
  if (access == Access::write) code |= pfec::wr;
  if (mode == AccessMode::user) code |= pfec::us;
  const bool no_execute = (cpu_.efer & arch::efer::nxe) != 0 && (cpu_.cr4 & arch::cr4::pae) != 0;
  if (access == Access::fetch && (no_execute || (cpu_.cr4 & arch::cr4::smep) != 0)) code |= pfec::id;
  return {.fault = {arch::vector::pf, true, code, linear}, .exit = {}};
}

Miss Mmu::ept_violation(u64 physical, u64 linear, Access access, bool translated) const {
  // A walk's access is a read; with accessed and dirty flags a write, too (SDM vol. 3C, table 28-7).
  const bool write = access == Access::write || (!translated && memory_.keeps_flags());
  Exit exit;
  exit.reason = ExitReason::ept_violation;
  exit.linear = Gva{linear};
  exit.physical = Gpa{physical};
  exit.qualification =
      EptQualification{access == Access::read, write, access == Access::fetch, true, translated}.encode();
  return {.is_exit = true, .fault = {}, .exit = exit};
}

tl::expected<Mmu::EntryPlace, Miss> Mmu::entry_at(u64 physical, u64 linear) {
  const MemoryImpl::RamPage page = memory_.ram_page(physical);
  const u64 flags = memory_.keeps_flags() ? EptEntry::flags_of(Access::write) : 0;
  if (page.host != nullptr) {
    if (flags != 0) {
      page.state->accessed.store(true, std::memory_order_relaxed);
      page.state->dirty.store(true, std::memory_order_seq_cst);
    }
    return EntryPlace{page.host + arch::page_offset(physical), page.state};
  }
  const Slot* const slot = memory_.find(physical);
  if (slot == nullptr || !slot->translate(slot->page_of(physical), flags)) {
    return tl::unexpected(ept_violation(physical, linear, Access::read, false));
  }
  // A page walk into EPC is a non-enclave access: all ones (SDM vol. 3D, 34.3).
  alignas(8) static u8 ones[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  return EntryPlace{ones, nullptr};
}

bool Mmu::permitted(const Walk& w, Access access, AccessMode mode) const {
  // SDM vol. 3A, 4.6.1: determination of access rights.
  if (mode == AccessMode::user) {
    if (!w.user) return false;
    if (access == Access::write) return w.write;
    return access != Access::fetch || !w.no_execute;
  }
  switch (access) {
    case Access::fetch: return !w.no_execute && !(w.user && (cpu_.cr4 & arch::cr4::smep) != 0);
    case Access::read: return !w.user || mode == AccessMode::supervisor_any;
    case Access::write:
      if (w.user && mode == AccessMode::supervisor) return false;
      return w.write || (cpu_.cr0 & arch::cr0::wp) == 0;
  }
  return false;
}

tl::expected<Mmu::Walk, Miss> Mmu::walk(u64 linear, Access access, AccessMode mode) {
  const bool four_level = cpu_.long_mode();
  const bool nxe = (cpu_.efer & arch::efer::nxe) != 0;
  Walk w;
  u64 table = four_level ? cpu_.cr3 & address_bits(52, 12) : cpu_.cr3 & 0xffff'ffe0;
  struct Seen {
    EntryPlace place;
    u64 entry;
  };
  std::array<Seen, 4> seen;
  unsigned count = 0;
  for (unsigned level = four_level ? 4 : 3; level >= 1; --level) {
    const unsigned shift = 12 + 9 * (level - 1);
    const bool pae_top = !four_level && level == 3;  // PDPTE: two index bits, no U/S, R/W, A
    const u64 index = pae_top ? (linear >> 30) & 3 : (linear >> shift) & 511;
    const auto place = TRY(entry_at(table + index * 8, linear));
    const u64 entry = __atomic_load_n(reinterpret_cast<const u64*>(place.host), __ATOMIC_RELAXED);
    if ((entry & pte::p) == 0) return tl::unexpected(page_fault(linear, access, mode, 0));

    const bool leaf = level == 1 || ((entry & pte::ps) != 0 && !pae_top && level <= 3);
    u64 reserved = reserved_physical;
    if (!nxe || pae_top) reserved |= pte::nx;
    if (!four_level) reserved |= address_bits(63, 52);
    if (pae_top) reserved |= 0x1e6;
    if (level == 4) reserved |= pte::ps;
    if (leaf && level > 1) reserved |= address_bits(shift, 13);
    if ((entry & reserved) != 0) return tl::unexpected(page_fault(linear, access, mode, pfec::p | pfec::rsvd));

    if (!pae_top) {
      w.user = w.user && (entry & pte::us) != 0;
      w.write = w.write && (entry & pte::rw) != 0;
      w.no_execute = w.no_execute || (entry & pte::nx) != 0;
      seen[count++] = {place, entry};
    }
    if (leaf) {
      const u64 offset_mask = (u64{1} << shift) - 1;
      w.physical = (entry & address_bits(52, 12) & ~offset_mask) | (linear & offset_mask);
      w.large_bytes = level > 1 ? offset_mask + 1 : 0;
      break;
    }
    table = entry & address_bits(52, 12);
  }
  if (!permitted(w, access, mode)) return tl::unexpected(page_fault(linear, access, mode, pfec::p));
  for (unsigned i = 0; i < count; ++i) {
    const bool leaf = i + 1 == count;
    const u64 flags = pte::a | (leaf && access == Access::write ? pte::d : 0);
    if (!set_flags<u64>(seen[i].place.host, seen[i].place.state, seen[i].entry, flags)) {
      w.changed = true;
      return w;
    }
  }
  w.dirty = access == Access::write || (seen[count - 1].entry & pte::d) != 0;
  return w;
}

tl::expected<Mmu::Walk, Miss> Mmu::walk_legacy(u64 linear, Access access, AccessMode mode) {
  Walk w;
  const auto directory = TRY(entry_at((cpu_.cr3 & 0xffff'f000) + ((linear >> 22) & 1023) * 4, linear));
  const u32 pde = __atomic_load_n(reinterpret_cast<const u32*>(directory.host), __ATOMIC_RELAXED);
  if ((pde & pte::p) == 0) return tl::unexpected(page_fault(linear, access, mode, 0));
  w.user = (pde & pte::us) != 0;
  w.write = (pde & pte::rw) != 0;
  EntryPlace leaf = directory;
  u32 entry = pde;
  if ((pde & pte::ps) != 0 && (cpu_.cr4 & arch::cr4::pse) != 0) {
    // PSE-36: bits 20:13 are address bits 39:32; bit 21 is reserved.
    if ((pde & (1u << 21)) != 0) return tl::unexpected(page_fault(linear, access, mode, pfec::p | pfec::rsvd));
    w.physical = (pde & 0xffc0'0000) | (u64{(pde >> 13) & 0xff} << 32) | (linear & 0x3f'ffff);
    w.large_bytes = 0x40'0000;
  } else {
    const auto table = TRY(entry_at((pde & 0xffff'f000) + ((linear >> 12) & 1023) * 4, linear));
    entry = __atomic_load_n(reinterpret_cast<const u32*>(table.host), __ATOMIC_RELAXED);
    leaf = table;
    if ((entry & pte::p) == 0) return tl::unexpected(page_fault(linear, access, mode, 0));
    w.user = w.user && (entry & pte::us) != 0;
    w.write = w.write && (entry & pte::rw) != 0;
    w.physical = (entry & 0xffff'f000) | (linear & 0xfff);
  }
  if (!permitted(w, access, mode)) return tl::unexpected(page_fault(linear, access, mode, pfec::p));
  const u32 flags = static_cast<u32>(pte::a | (access == Access::write ? pte::d : 0));
  if (leaf.host != directory.host && !set_flags<u32>(directory.host, directory.state, pde, static_cast<u32>(pte::a))) {
    w.changed = true;
  } else if (!set_flags<u32>(leaf.host, leaf.state, entry, flags)) {
    w.changed = true;
  }
  w.dirty = access == Access::write || (entry & pte::d) != 0;
  return w;
}

tl::expected<PageTranslation, Miss> Mmu::translate_raw(u64 linear, Access access, AccessMode mode) {
  Walk w;
  if ((cpu_.cr0 & arch::cr0::pg) == 0) {
    w.physical = linear;
    w.user = mode == AccessMode::user;
    w.dirty = true;
  } else {
    do {
      w = TRY((cpu_.cr4 & arch::cr4::pae) != 0 ? walk(linear, access, mode) : walk_legacy(linear, access, mode));
    } while (w.changed);
  }
  PageTranslation t;
  t.physical = arch::page_base(w.physical);
  t.writable = w.dirty && permitted(w, Access::write, mode);
  t.large_bytes = w.large_bytes;

  const Slot* const slot = memory_.find(t.physical);
  if (slot == nullptr) return tl::unexpected(ept_violation(w.physical, linear, access, true));
  const u64 page = slot->page_of(t.physical);
  const bool keeps_flags = memory_.keeps_flags();
  if (slot->host == nullptr) {
    const auto epc = slot->translate(page, keeps_flags ? EptEntry::flags_of(access) : 0);
    if (!epc) return tl::unexpected(ept_violation(w.physical, linear, access, true));
    t.epc_index = package_.index_of(epc->frame);
    t.writable = t.writable && (!keeps_flags || epc->dirty);
    return t;
  }
  if (keeps_flags) slot->pages[page].accessed.store(true, std::memory_order_relaxed);
  t.host = slot->host + page * arch::page_size;
  t.state = &slot->pages[page];
  return t;
}

namespace {
bool rights_allow(const EpcmEntry& page, Access access) {
  switch (access) {
    case Access::read: return page.read;
    case Access::write: return page.write;
    case Access::fetch: return page.execute;
  }
  return false;
}
}  // namespace

tl::expected<PageTranslation, Miss> Mmu::translate(u64 linear, Access access, AccessMode mode) {
  const EnclaveState& enclave = cpu_.enclave;
  const bool inside = enclave.active && enclave.in_elrange(linear);
  if (enclave.active && !inside && access == Access::fetch) {
    return tl::unexpected(Miss{.fault = {arch::vector::gp, true, 0, 0}, .exit = {}});
  }
  auto t = translate_raw(linear, access, mode);
  if (!t || !inside) return t;  // outside ELRANGE, EPC is the abort page

  // Direct enclave access (SDM vol. 3D, 35.3 and 35.5): whatever is wrong is one fault.
  const auto denied = [&] { return tl::unexpected(page_fault(linear, access, mode, pfec::p | pfec::sgx)); };
  if (!t->epc_index) return denied();
  const MutexLock guard(package_.mutex());
  const EpcmEntry& page = package_.epcm(*t->epc_index);
  const bool usable = page.valid && page.type == arch::PageType::reg && page.secs == enclave.secs &&
                      page.enclave_address == arch::page_base(linear) && !page.blocked && !page.pending &&
                      !page.modified;
  if (!usable || !rights_allow(page, access)) return denied();
  t->host = package_.page(*t->epc_index);
  t->state = &package_.state(*t->epc_index);
  t->writable = t->writable && page.write;
  return t;
}

}  // namespace cloister::silicon
