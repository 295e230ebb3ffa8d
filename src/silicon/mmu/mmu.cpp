// Filling and flushing the software TLB (SDM vol. 3A, 4.10), and the slow paths of guest memory accesses.
#include "silicon/mmu/mmu.hpp"

#include <algorithm>
#include <cstring>

#include "silicon/cpu/access.hpp"
#include "silicon/cpu/debug.hpp"
#include "silicon/cpu/dispatch.hpp"
#include "silicon/cpu/modes.hpp"
#include "silicon/mmu/guest_bytes.hpp"
#include "silicon/processor.hpp"

namespace cloister::silicon {

namespace {
constexpr u64 last_space = 1023;
constexpr unsigned cache_line = 64;
constexpr u64 uncached_mode =
    3;  ///< low bits of a context in which nothing is remembered: every access is checked slowly
constexpr u64 large_region(u64 linear) { return (linear >> 21) % 4096; }
}  // namespace

Mmu::Mmu(Cpu& cpu, GuestMemory::Impl& memory, Package::Impl& package)
    : cpu_(cpu), memory_(memory), package_(package), space_of_pcid_(4096, 0) {
  flush_all();
  const MutexLock lock(memory_.shootdown.mutex);
  memory_.shootdown.processors.push_back(this);
  ++memory_.shootdown.count;
}

Mmu::~Mmu() {
  const MutexLock lock(memory_.shootdown.mutex);
  std::erase(memory_.shootdown.processors, this);
  --memory_.shootdown.count;
  memory_.shootdown.changed.notify_all();
}

AccessMode Mmu::data_mode() const {
  if (cpu_.cpl == 3) return AccessMode::user;
  const bool smap = (cpu_.cr4 & arch::cr4::smap) != 0 && (cpu_.cr0 & arch::cr0::pg) != 0;
  return smap && (cpu_.system_flags & arch::rflags::ac) == 0 ? AccessMode::supervisor : AccessMode::supervisor_any;
}

void Mmu::update_context() {
  const u64 space = space_ << 2;
  const bool alignment_checks =
      cpu_.cpl == 3 && (cpu_.cr0 & arch::cr0::am) != 0 && (cpu_.system_flags & arch::rflags::ac) != 0;
  cpu_.context =
      space | (alignment_checks || data_breakpoints_on(cpu_) ? uncached_mode : static_cast<u64>(data_mode()));
  const u64 fetch = space | (cpu_.cpl == 3 ? 1 : 0);
  cpu_.fetch_key = fetch | (static_cast<u64>(code_mode(cpu_)) << 12);
}

void Mmu::forget_all() {
  cpu_.tlb.flush();
  cpu_.jump_cache.fill({});
  fetched_.fill({});
  operands_.fill({});
  large_regions_.reset();
  huge_pages_ = false;
}

u64 Mmu::fresh_space() {
  if (next_space_ > last_space) {
    forget_all();
    std::ranges::fill(space_of_pcid_, u16{0});
    outer_space_ = 0;
    next_space_ = 1;
  }
  return next_space_++;
}

void Mmu::enter_enclave_space() {
  outer_space_ = space_;
  space_ = fresh_space();
  update_context();
}

void Mmu::leave_enclave_space() {
  if (outer_space_ == 0) return flush_current();
  space_ = std::exchange(outer_space_, 0);
  update_context();
}

void Mmu::switch_space(u16 pcid, bool keep) {
  u16& known = space_of_pcid_[pcid];
  if (!keep || known == 0) {
    const u64 fresh = fresh_space();  // may forget all others
    space_of_pcid_[pcid] = static_cast<u16>(fresh);
  }
  space_ = space_of_pcid_[pcid];
  update_context();
}

void Mmu::flush_all() {
  std::ranges::fill(space_of_pcid_, u16{0});
  flush_current();
}

void Mmu::flush_current() {
  const u16 pcid = (cpu_.cr4 & arch::cr4::pcide) != 0 ? static_cast<u16>(cpu_.cr3 & 0xfff) : u16{0};
  switch_space(pcid, false);
}

void Mmu::flush_pcid(u16 pcid) {
  const u16 current = (cpu_.cr4 & arch::cr4::pcide) != 0 ? static_cast<u16>(cpu_.cr3 & 0xfff) : u16{0};
  if (pcid == current) return flush_current();
  space_of_pcid_[pcid] = 0;
}

void Mmu::flush_page(u64 linear) {
  // A 1 GiB page may have been cached under any of its 4 KiB pages.
  if (huge_pages_) return forget_all();
  const auto forget = [this](u64 page) {
    TlbEntry& data = cpu_.tlb.at(page);
    data.tag_read = data.tag_write = tlb_invalid;
    known(fetched_, page).tag = known(operands_, page).tag = tlb_invalid;
    std::fill_n(&cpu_.jump_cache[((page >> arch::page_shift) % jump_cache_pages) * jump_cache_per_page],
                jump_cache_per_page, JumpCacheEntry{});
  };
  const u64 page = arch::page_base(linear);
  if (!large_regions_.test(large_region(linear))) {
    forget(page - arch::page_size);  // blocks that reach over into this page
    return forget(page);
  }
  const u64 first = linear & ~u64{0x1f'ffff};
  for (u64 i = 0; i < 513; ++i) forget(first + i * arch::page_size - arch::page_size);
}

void Mmu::note_large(u64 linear, const PageTranslation& page) {
  if (page.large_bytes == 0) return;
  large_regions_.set(large_region(linear));
  // 4 MiB pages of 32-bit paging reach over two regions.
  large_regions_.set(large_region(linear ^ 0x20'0000));
  if (page.large_bytes > 0x40'0000) huge_pages_ = true;
}

tl::expected<PageTranslation, Miss> Mmu::fetch_page(u64 linear) {
  KnownPage& e = known(fetched_, linear);
  const u64 tag = arch::page_base(linear) | (cpu_.fetch_key & arch::page_mask);
  if (e.tag == tag) return e.page;
  const auto page = translate(linear, Access::fetch, cpu_.cpl == 3 ? AccessMode::user : AccessMode::supervisor_any);
  if (!page || page->host == nullptr) return page;
  note_large(linear, *page);
  e = {tag, *page};
  return page;
}

tl::expected<PageTranslation, Miss> Mmu::operand_page(u64 linear, Access access) {
  const auto page = translate_raw(linear, access, data_mode());
  if (!page || !page->epc_index || (cpu_.context & 3) == uncached_mode) return page;
  note_large(linear, *page);
  known(operands_, linear) = {arch::page_base(linear) | cpu_.context, *page};
  return page;
}

tl::expected<PageTranslation, Miss> Mmu::translate_and_fill(u64 linear, Access access) {
  auto t = translate(linear, access, data_mode());
  if (!t || t->host == nullptr || (cpu_.context & 3) == uncached_mode) return t;
  note_large(linear, *t);
  if (access == Access::write) page_store(*t->state);
  const u64 page = arch::page_base(linear);
  const bool writable = t->writable && page_writable_inline(*t->state);
  cpu_.tlb.at(linear) = {page | cpu_.context, writable ? page | cpu_.context : tlb_invalid,
                         reinterpret_cast<u64>(t->host) - page};
  return t;
}

// ------------------------------------------------------------------------------------------------ slow paths

namespace {

/// Records what the access met; always false.
bool miss(Cpu& cpu, const Op* op, const Miss& m) {
  cpu.at = op;
  if (m.is_exit) {
    cpu.leave = Leave::exit;
    cpu.exit = m.exit;
    cpu.exit.instruction_length = op->length;
  } else {
    cpu.leave = Leave::fault;
    cpu.fault = m.fault;
  }
  return false;
}

/// A non-canonical or misaligned operand, where that is a fault.
bool checked(Cpu& cpu, const Op* op, u64 linear, unsigned bytes) {
  if (cpu.code64 && !(is_canonical(linear) && is_canonical(linear + bytes - 1))) {
    return miss(cpu, op,
                {.fault = {op->seg == arch::seg_ss ? arch::vector::ss : arch::vector::gp, true, 0, 0}, .exit = {}});
  }
  if (cpu.cpl == 3 && (cpu.system_flags & arch::rflags::ac) != 0 && (cpu.cr0 & arch::cr0::am) != 0) {
    const u64 alignment = std::min<u64>(bytes & (~bytes + 1), 8);
    if ((linear & (alignment - 1)) != 0) {
      return miss(cpu, op, {.fault = {arch::vector::ac, true, 0, 0}, .exit = {}});
    }
  }
  return true;
}

/// The one or two pages of an operand.
struct Pieces {
  struct Piece {
    PageTranslation page;
    u64 offset;
    unsigned bytes;
  };
  std::array<Piece, 2> piece;
  unsigned count = 0;
};

bool translate_pieces(Cpu& cpu, const Op* op, u64 linear, unsigned bytes, Access access, Pieces& out) {
  if (!checked(cpu, op, linear, bytes)) return false;
  for (unsigned done = 0; done < bytes;) {
    const u64 at = cpu.code64 ? linear + done : static_cast<u32>(linear + done);
    const unsigned n = std::min<unsigned>(bytes - done, static_cast<unsigned>(arch::page_size - arch::page_offset(at)));
    const auto t = cpu.mmu->translate_and_fill(at, access);
    if (!t) return miss(cpu, op, t.error());
    out.piece[out.count++] = {*t, arch::page_offset(at), n};
    done += n;
  }
  note_data_access(cpu, linear, bytes, access);
  return true;
}

void read_pieces(const Pieces& pieces, void* to) {
  u8* out = static_cast<u8*>(to);
  for (unsigned i = 0; i < pieces.count; ++i) {
    const Pieces::Piece& p = pieces.piece[i];
    if (p.page.host == nullptr) {
      std::memset(out, 0xff, p.bytes);
    } else {
      copy_guest(out, p.page.host + p.offset, p.bytes);
    }
    out += p.bytes;
  }
}

/// Tells the door of a store into the page; if it is the running block's, the rest of the block must be fetched anew.
void tell_door(Cpu& cpu, PageState& state) {
  if (page_store(state) && cpu.block != nullptr) poison_if_stale(*cpu.block);
}

}  // namespace

bool load_slow(Cpu& cpu, const Op* op, u64 linear, void* to, unsigned bytes) {
  Pieces pieces;
  if (!translate_pieces(cpu, op, linear, bytes, Access::read, pieces)) return false;
  read_pieces(pieces, to);
  return true;
}

bool load_for_store_slow(Cpu& cpu, const Op* op, u64 linear, void* to, unsigned bytes) {
  Pieces pieces;
  if (!translate_pieces(cpu, op, linear, bytes, Access::write, pieces)) return false;
  if (cpu.block != nullptr) poison_if_stale(*cpu.block);
  read_pieces(pieces, to);
  return true;
}

bool store_slow(Cpu& cpu, const Op* op, u64 linear, const void* from, unsigned bytes) {
  Pieces pieces;
  if (!translate_pieces(cpu, op, linear, bytes, Access::write, pieces)) return false;
  const u8* in = static_cast<const u8*>(from);
  for (unsigned i = 0; i < pieces.count; ++i) {
    const Pieces::Piece& p = pieces.piece[i];
    if (p.page.host != nullptr) {
      copy_guest(p.page.host + p.offset, in, p.bytes);
      tell_door(cpu, *p.page.state);
    }
    in += p.bytes;
  }
  if (cpu.block != nullptr) poison_if_stale(*cpu.block);
  return true;
}

void* host_for_atomic(Cpu& cpu, const Op* op, u64 linear, unsigned bytes, bool& plainly) {
  // In the host's memory, too, since pages are whole ones: a split lock there would stop every core of the host.
  if (linear % cache_line + bytes > cache_line) [[unlikely]] {
    plainly = cpu.alone;
    if (!plainly) {
      cpu.at = op;
      cpu.leave = Leave::alone;
    }
    return nullptr;
  }
  const TlbEntry& e = cpu.tlb.at(linear);
  if (e.tag_write == tlb_tag(linear, bytes, cpu.context)) return reinterpret_cast<void*>(e.addend + linear);
  Pieces pieces;
  if (!translate_pieces(cpu, op, linear, bytes, Access::write, pieces)) return nullptr;
  const Pieces::Piece& p = pieces.piece[0];
  if (p.page.host == nullptr) {
    plainly = true;  // the abort page: load() and store() have its semantics
    return nullptr;
  }
  tell_door(cpu, *p.page.state);
  if (cpu.block != nullptr) poison_if_stale(*cpu.block);
  return p.page.host + p.offset;
}

// ------------------------------------------------------------------------------------------------ implicit accesses

namespace {
template <class F>
bool system_access(Cpu& cpu, u64 linear, unsigned bytes, Access access, Miss& m, F&& f) {
  const AccessMode mode = (cpu.cr4 & arch::cr4::smap) != 0 && (cpu.cr0 & arch::cr0::pg) != 0
                              ? AccessMode::supervisor
                              : AccessMode::supervisor_any;
  const u64 context = (cpu.context & ~u64{3}) | static_cast<u64>(mode);
  for (unsigned done = 0; done < bytes;) {
    const u64 at = cpu.long_mode() ? linear + done : static_cast<u32>(linear + done);
    const unsigned n = std::min<unsigned>(bytes - done, static_cast<unsigned>(arch::page_size - arch::page_offset(at)));
    const TlbEntry& e = cpu.tlb.at(at);
    if ((access == Access::write ? e.tag_write : e.tag_read) == (arch::page_base(at) | context)) {
      f(reinterpret_cast<u8*>(e.addend + at), nullptr, done, n);
    } else {
      if (cpu.long_mode() && !is_canonical(at)) {
        m = {.fault = {arch::vector::gp, true, 0, 0}, .exit = {}};
        return false;
      }
      const auto t = cpu.mmu->translate(at, access, mode);
      if (!t) {
        m = t.error();
        return false;
      }
      f(t->host == nullptr ? nullptr : t->host + arch::page_offset(at), t->state, done, n);
    }
    done += n;
  }
  return true;
}
}  // namespace

bool system_read(Cpu& cpu, u64 linear, void* to, unsigned bytes, Miss& m) {
  return system_access(cpu, linear, bytes, Access::read, m, [&](const u8* host, PageState*, unsigned done, unsigned n) {
    if (host == nullptr) {
      std::memset(static_cast<u8*>(to) + done, 0xff, n);
    } else {
      copy_guest(static_cast<u8*>(to) + done, host, n);
    }
  });
}

bool system_write(Cpu& cpu, u64 linear, const void* from, unsigned bytes, Miss& m) {
  return system_access(cpu, linear, bytes, Access::write, m,
                       [&](u8* host, PageState* state, unsigned done, unsigned n) {
                         if (host == nullptr) return;
                         copy_guest(host, static_cast<const u8*>(from) + done, n);
                         if (state != nullptr) page_store(*state);
                       });
}

bool system_probe_write(Cpu& cpu, u64 linear, unsigned bytes, Miss& m) {
  return system_access(cpu, linear, bytes, Access::write, m, [](u8*, PageState*, unsigned, unsigned) {});
}

}  // namespace cloister::silicon
