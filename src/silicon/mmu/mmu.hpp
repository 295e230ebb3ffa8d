// Translation of linear addresses: guest paging, then the second level, then what the page is (SDM vol. 3A ch. 4; vol.
// 3C 29.3). One a logical processor, beside its TLB.
#pragma once

#include <bitset>
#include <cassert>
#include <tl/expected.hpp>
#include <vector>

#include "silicon/mmu/memory.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

class PackageImpl;

/// What an access found instead of memory: an exception, or a VM exit.
struct Miss {
  bool is_exit = false;
  Fault fault;
  Exit exit;
};

/// A translated page.
struct PageTranslation {
  u8* host = nullptr;            ///< of the page's first byte; null: abort page (reads all ones, swallows writes)
  PageState* state = nullptr;    ///< null with the abort page
  u64 physical = 0;              ///< guest-physical address of the page
  bool writable = false;         ///< a write in this mode would be allowed, and the dirty flags are set
  u64 large_bytes = 0;           ///< size of the large page that it is part of, or 0
  std::optional<u32> epc_index;  ///< it is a page of the package's EPC
};

/// What keeps code that was decoded from memory.
class CodeCache {
 public:
  /// Between two blocks.
  virtual void forget_all() = 0;

 protected:
  ~CodeCache() = default;
};

class Mmu {
 public:
  Mmu(Cpu& cpu, MemoryImpl& memory, PackageImpl& package);
  ~Mmu();
  Mmu(const Mmu&) = delete;
  Mmu& operator=(const Mmu&) = delete;

  /// Walks the tables for one access, sets accessed and dirty flags, and finds the host page. `linear` is canonical.
  /// In enclave mode, the EPCM has its say; otherwise EPC is the abort page.
  tl::expected<PageTranslation, Miss> translate(u64 linear, Access access, AccessMode mode);
  /// The same without a judgement of EPC: paging and the second level only; `host` is null for EPC.
  tl::expected<PageTranslation, Miss> translate_raw(u64 linear, Access access, AccessMode mode);
  /// As translate(), and remembers it in the TLB under the processor's present context, where that is allowed.
  tl::expected<PageTranslation, Miss> translate_and_fill(u64 linear, Access access);
  /// The page that an SGX leaf's operand names, as translate_raw() finds it, remembered if it is EPC.
  tl::expected<PageTranslation, Miss> operand_page(u64 linear, Access access);
  /// What operand_page() remembers: null if it has to look.
  const PageTranslation* known_operand(u64 linear, Access access) {
    const KnownPage& e = known(operands_, linear);
    const bool hit = e.tag == (arch::page_base(linear) | cpu_.context) && (access != Access::write || e.page.writable);
    return hit ? &e.page : nullptr;
  }
  /// The page that code is fetched from, remembered likewise.
  tl::expected<PageTranslation, Miss> fetch_page(u64 linear);

  /// How explicit data accesses are checked now.
  AccessMode data_mode() const;
  /// Recomputes Cpu::context and Cpu::fetch_key after a change of CPL, RFLAGS.AC, CR0, CR3, CR4, EFER, DR7 or CS.
  void update_context();

  /// Entry into an enclave takes a fresh address-space number, so that nothing filled before is hit; the exit goes
  /// back.
  void enter_enclave_space();
  void leave_enclave_space();
  void flush_all();             ///< every PCID, global pages too
  void flush_current();         ///< the current PCID
  void flush_second_level();    ///< INVEPT: whatever the second level has a part in
  void flush_page(u64 linear);  ///< INVLPG: current PCID and global translations
  void flush_pcid(u16 pcid);
  /// MOV to CR3: switches to the address space; keeps its translations if `keep`.
  void switch_space(u16 pcid, bool keep);

  /// Blocks are about to be cached from the page, whose generation was read: from here on, every processor's stores
  /// there go through page_store(). May wait for other processors to end their blocks.
  void guard_code(const PageTranslation& page);
  /// run() begins and ends; between blocks, when Cpu::attention was set: takes over what others asked for, and stands
  /// aside while one of them holds the processors.
  void enter();
  void leave();
  void attend();

  /// Where code is kept that must go when its slots go; outlives the calls of enter(). null: nowhere.
  void set_code_cache(CodeCache* cache) { code_cache_ = cache; }

  MemoryImpl& memory() { return memory_; }
  PackageImpl& package() { return package_; }

 private:
  friend class Hold;
  friend class MemoryImpl;
  struct Walk {
    u64 physical = 0;
    bool user = true, write = true, no_execute = false, dirty = false;
    u64 large_bytes = 0;
    bool changed = false;  ///< another processor changed an entry meanwhile: walk again
  };
  tl::expected<Walk, Miss> walk(u64 linear, Access access, AccessMode mode);
  tl::expected<Walk, Miss> walk_legacy(u64 linear, Access access, AccessMode mode);
  struct EntryPlace {
    u8* host;
    PageState* state;
  };
  tl::expected<EntryPlace, Miss> entry_at(u64 physical, u64 linear);
  Miss page_fault(u64 linear, Access access, AccessMode mode, u32 code) const;
  Miss ept_violation(u64 physical, u64 linear, Access access, bool translated) const;
  bool permitted(const Walk& w, Access access, AccessMode mode) const;
  /// Removes inline write permission for one page, or for all, from this processor's TLB.
  void protect(const u8* host_page);
  void protect_all();
  /// Asks every other processor for the same, and waits for those that run.
  void protect_everywhere(const u8* host_page);
  void request(const u8* host_page) CLOISTER_REQUIRES(memory_.shootdown.mutex);
  void request_all() CLOISTER_REQUIRES(memory_.shootdown.mutex);
  void take_over() CLOISTER_REQUIRES(memory_.shootdown.mutex);
  bool has_requests() const CLOISTER_REQUIRES(memory_.shootdown.mutex) { return all_pages_ || !requests_.empty(); }
  // Between two blocks: waits while there is a hold; takes over everything and runs (on).
  void stand_aside() CLOISTER_REQUIRES(memory_.shootdown.mutex);
  void run_on() CLOISTER_REQUIRES(memory_.shootdown.mutex);
  /// It is one of those: who has their mutex has its memory's, which is the same.
  void is_one_of([[maybe_unused]] const Shootdown& all) const CLOISTER_REQUIRES(all.mutex)
      CLOISTER_ASSERT_CAPABILITY(memory_.shootdown.mutex) {
    assert(&memory_.shootdown == &all);
  }

  u64 fresh_space();
  void note_large(u64 linear, const PageTranslation& page);
  void forget_all();

  Cpu& cpu_;
  MemoryImpl& memory_;
  PackageImpl& package_;
  CodeCache* code_cache_ = nullptr;
  u64 next_space_ = 1;               ///< address-space numbers from 1 to 1023
  u64 space_ = 0;                    ///< the current one
  u64 outer_space_ = 0;              ///< in enclave mode: the one outside; 0 if it has been forgotten
  std::vector<u16> space_of_pcid_;   ///< 0: none
  std::bitset<4096> large_regions_;  ///< hash of 2 MiB regions that a large page was cached from
  bool huge_pages_ = false;          ///< a 1 GiB page was cached
  // What the TLB cannot hold: pages of code, and EPC pages as the leaves that build and page enclaves name them.
  struct KnownPage {
    u64 tag = tlb_invalid;  ///< page and context, as in TlbEntry
    PageTranslation page;
  };
  static constexpr unsigned known_pages = 1024;
  using KnownPages = std::array<KnownPage, known_pages>;
  static KnownPage& known(KnownPages& pages, u64 linear) { return pages[(linear >> arch::page_shift) % known_pages]; }
  KnownPages fetched_, operands_;

  /// Host pages.
  std::vector<const u8*> requests_ CLOISTER_GUARDED_BY(memory_.shootdown.mutex);
  /// There were too many.
  bool all_pages_ CLOISTER_GUARDED_BY(memory_.shootdown.mutex) = false;
  /// Slots are gone: forget what is known of memory, and all blocks.
  bool forget_ CLOISTER_GUARDED_BY(memory_.shootdown.mutex) = false;
  u64 generation_ = 0;  ///< of the memory, when translations were last forgotten for it
  /// Between enter() and leave(), and not standing aside.
  bool running_ CLOISTER_GUARDED_BY(memory_.shootdown.mutex) = false;
};

/// Reads or writes with supervisor rights through the TLB: descriptor tables, TSS, stacks of event delivery. False: the
/// miss is in `miss`.
bool system_read(Cpu& cpu, u64 linear, void* to, unsigned bytes, Miss& miss);
bool system_write(Cpu& cpu, u64 linear, const void* from, unsigned bytes, Miss& miss);
/// As system_write, at most one byte's worth of check and no write: is it writable?
bool system_probe_write(Cpu& cpu, u64 linear, unsigned bytes, Miss& miss);

}  // namespace cloister::silicon
