// Filling and flushing the software TLB (SDM vol. 3A, 4.10), and accesses with supervisor rights through it.
#include "silicon/mmu/mmu.hpp"

#include <algorithm>
#include <cstring>

#include "silicon/memory/guest_bytes.hpp"
#include "silicon/state/debug.hpp"
#include "silicon/state/modes.hpp"
#include "silicon/state/processor.hpp"

namespace cloister::silicon {

namespace {
constexpr u64 last_space = 1023;
/// Low bits of a context in which nothing is remembered: every access is checked slowly.
constexpr u64 uncached_mode = 3;
constexpr u64 large_region(u64 linear) { return (linear >> 21) % 4096; }
}  // namespace

Mmu::Mmu(Cpu& cpu, MemoryImpl& memory, PackageImpl& package)
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
  const u64 key = fetch | (static_cast<u64>(code_mode(cpu_)) << 12);
  static_assert(fetch_key_shift + 12 + 3 < 64);
  cpu_.fetch_key = key << fetch_key_shift;
}

void Mmu::forget_all() {
  cpu_.tlb.flush();
  cpu_.jump_cache.fill({});
  cpu_.forget_returns();
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

void Mmu::flush_second_level() {
  if (!cpu_.enclave.active) return flush_all();
  std::ranges::fill(space_of_pcid_, u16{0});
  space_ = fresh_space();
  outer_space_ = 0;
  update_context();
}

void Mmu::flush_pcid(u16 pcid) {
  const u16 current = (cpu_.cr4 & arch::cr4::pcide) != 0 ? static_cast<u16>(cpu_.cr3 & 0xfff) : u16{0};
  if (pcid == current) return flush_current();
  space_of_pcid_[pcid] = 0;
}

void Mmu::flush_page(u64 linear) {
  // A 1 GiB page may have been cached under any of its 4 KiB pages.
  if (huge_pages_) return forget_all();
  cpu_.forget_returns();
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
  const u64 tag = arch::page_base(linear) | ((cpu_.fetch_key >> fetch_key_shift) & arch::page_mask);
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
