// Stopping inline stores into a page that blocks are about to be cached from, on every processor, and stopping the
// processors themselves (see memory.hpp).
//
// A processor takes requests over between two blocks, or at its next entry. One that waits for others takes over what
// they ask of it, so that two that wait for each other both get on. Who waits for a hold, or stands aside for one, does
// not run: nobody waits for it, and it takes over what was asked of it before it runs on.
#include <algorithm>
#include <utility>

#include "silicon/mmu/mmu.hpp"

namespace cloister::silicon {

namespace {
constexpr std::size_t most_requests = 64;  ///< beyond, forgetting all permissions is cheaper
/// A rest after a hold is so many times as long as the hold, up to a limit for when the host itself was away.
constexpr int rest_times = 9;
constexpr std::chrono::milliseconds longest_rest{10};
}  // namespace

void Mmu::protect(const u8* host_page) {
  const u64 host = reinterpret_cast<u64>(host_page);
  for (TlbEntry& e : cpu_.tlb.entry) {
    if (e.tag_write != tlb_invalid && arch::page_base(e.addend + arch::page_base(e.tag_write)) == host) {
      e.tag_write = tlb_invalid;
    }
  }
}

void Mmu::protect_all() {
  for (TlbEntry& e : cpu_.tlb.entry) e.tag_write = tlb_invalid;
  for (KnownPage& e : operands_) e.page.writable = false;
}

void Mmu::guard_code(const PageTranslation& page) {
  std::atomic<u32>& code = page.state->code;
  if (code.load(std::memory_order_acquire) == PageState::guarded) return;
  u32 claim = memory_.shootdown.claim();
  code.store(claim, std::memory_order_seq_cst);
  protect(page.host);
  // A processor that is made after this look sees the claim.
  if (memory_.shootdown.count.load(std::memory_order_seq_cst) > 1) protect_everywhere(page.host);
  // Not if a store came between, which moved the generation on, or another claim, which will do this itself.
  code.compare_exchange_strong(claim, PageState::guarded, std::memory_order_acq_rel);
}

void Mmu::protect_everywhere(const u8* host_page) {
  const MutexLock lock(memory_.shootdown.mutex);
  for (Mmu* other : memory_.shootdown.processors) {
    other->is_one_of(memory_.shootdown);
    if (other != this) other->request(host_page);
  }
  memory_.shootdown.changed.notify_all();
  memory_.shootdown.changed.wait(memory_.shootdown.mutex, [this]() CLOISTER_REQUIRES(memory_.shootdown.mutex) {
    take_over();
    return std::ranges::none_of(memory_.shootdown.processors,
                                [this](const Mmu* other) CLOISTER_REQUIRES(memory_.shootdown.mutex) {
                                  other->is_one_of(memory_.shootdown);
                                  return other != this && other->running_ && other->has_requests();
                                });
  });
}

void Mmu::request(const u8* host_page) {
  if (all_pages_ || requests_.size() >= most_requests) return request_all();
  requests_.push_back(host_page);
  if (running_) cpu_.attention.store(true, std::memory_order_release);
}

void Mmu::request_all() {
  all_pages_ = true;
  requests_.clear();
  if (running_) cpu_.attention.store(true, std::memory_order_release);
}

void Mmu::take_over() {
  if (!has_requests()) return;
  if (all_pages_) protect_all();
  for (const u8* page : requests_) protect(page);
  requests_.clear();
  all_pages_ = false;
  memory_.shootdown.changed.notify_all();
}

void Mmu::stand_aside() {
  if (!memory_.shootdown.held) return;
  running_ = false;
  memory_.shootdown.stand_aside();
}

void Shootdown::stand_aside() {
  ++aside;
  changed.notify_all();
  changed.wait(mutex, [this]() CLOISTER_REQUIRES(mutex) { return !held; });
  if (--aside != 0) return;
  const auto now = Clock::now();
  rest_until = now + std::min<Clock::duration>(rest_times * (now - held_since), longest_rest);
  changed.notify_all();
}

void Mmu::run_on() {
  take_over();
  if (std::exchange(forget_, false)) {
    forget_all();
    if (code_cache_ != nullptr) code_cache_->forget_all();
  }
  if (const u64 now = memory_.generation(); now != generation_) {
    generation_ = now;
    flush_second_level();
  }
  running_ = true;
}

void Mmu::enter() {
  const MutexLock lock(memory_.shootdown.mutex);
  stand_aside();
  run_on();
}

void Mmu::leave() {
  const MutexLock lock(memory_.shootdown.mutex);
  running_ = false;
  memory_.shootdown.changed.notify_all();
}

void Mmu::attend() { enter(); }

Hold::Hold(Shootdown& all) : all_(all) {
  const MutexLock lock(all_.mutex);
  all_.changed.wait(all_.mutex, [this]() CLOISTER_REQUIRES(all_.mutex) { return !all_.held; });
  stop();
}

Hold::Hold(Shootdown& all, Mmu& self) : all_(all) {
  const MutexLock lock(all_.mutex);
  self.running_ = false;
  all_.changed.notify_all();
  for (;;) {
    all_.changed.wait(all_.mutex, [this]() CLOISTER_REQUIRES(all_.mutex) { return !all_.held && all_.aside == 0; });
    if (Shootdown::Clock::now() >= all_.rest_until) break;
    all_.changed.wait_until(all_.mutex, all_.rest_until);
  }
  stop();
  self.run_on();
}

void Hold::stop() {
  all_.held = true;
  ++all_.holds;
  all_.held_since = Shootdown::Clock::now();
  for (Mmu* p : all_.processors) {
    p->is_one_of(all_);
    if (p->running_) p->cpu_.attention.store(true, std::memory_order_release);
  }
  all_.changed.wait(all_.mutex, [this]() CLOISTER_REQUIRES(all_.mutex) {
    return std::ranges::none_of(all_.processors, &Mmu::running_);
  });
}

Hold::~Hold() {
  const MutexLock lock(all_.mutex);
  all_.held = false;
  all_.changed.notify_all();
}

void MemoryImpl::forget_everywhere() {
  const MutexLock lock(shootdown.mutex);
  for (Mmu* p : shootdown.processors) {
    p->is_one_of(shootdown);
    p->forget_ = true;
  }
}

void MemoryImpl::stop_inline_stores() {
  const MutexLock lock(shootdown.mutex);
  for (Mmu* p : shootdown.processors) {
    p->is_one_of(shootdown);
    p->request_all();
  }
  shootdown.changed.notify_all();
  shootdown.changed.wait(shootdown.mutex, [this]() CLOISTER_REQUIRES(shootdown.mutex) {
    return std::ranges::none_of(shootdown.processors, [this](const Mmu* p) CLOISTER_REQUIRES(shootdown.mutex) {
      p->is_one_of(shootdown);
      return p->running_ && p->has_requests();
    });
  });
}

}  // namespace cloister::silicon
