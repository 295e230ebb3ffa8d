// Stopping inline stores into a page that blocks are about to be cached from, on every processor, and stopping the
// processors themselves (see memory.hpp).
//
// A processor takes requests over between two blocks, or at its next entry. One that waits for others takes over what
// they ask of it, so that two that wait for each other both get on. Who waits for a hold, or stands aside for one, does
// not run: nobody waits for it, and it takes over what was asked of it before it runs on.
#include <algorithm>
#include <utility>

#include "silicon/cpu/block_cache.hpp"
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
  Shootdown& all = memory_.shootdown;
  std::unique_lock lock(all.mutex);
  for (Mmu* other : all.processors) {
    if (other != this) other->request(host_page);
  }
  all.changed.notify_all();
  all.changed.wait(lock, [&] {
    take_over();
    return std::ranges::none_of(
        all.processors, [this](const Mmu* other) { return other != this && other->running_ && other->has_requests(); });
  });
}

void Mmu::request(const u8* host_page) {
  if (requests_.size() >= most_requests) {
    all_pages_ = true;
    requests_.clear();
  }
  if (!all_pages_) requests_.push_back(host_page);
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

void Mmu::stand_aside(std::unique_lock<std::mutex>& lock) {
  Shootdown& all = memory_.shootdown;
  if (!all.held) return;
  running_ = false;
  ++all.aside;
  all.changed.notify_all();
  all.changed.wait(lock, [&all] { return !all.held; });
  if (--all.aside != 0) return;
  const auto now = Shootdown::Clock::now();
  all.rest_until = now + std::min<Shootdown::Clock::duration>(rest_times * (now - all.held_since), longest_rest);
  all.changed.notify_all();
}

void Mmu::run_on() {
  take_over();
  if (std::exchange(forget_, false)) {
    forget_all();
    cpu_.blocks->forget_all();
  }
  running_ = true;
}

void Mmu::enter() {
  std::unique_lock lock(memory_.shootdown.mutex);
  stand_aside(lock);
  run_on();
}

void Mmu::leave() {
  const std::scoped_lock lock(memory_.shootdown.mutex);
  running_ = false;
  memory_.shootdown.changed.notify_all();
}

void Mmu::attend() { enter(); }

Hold::Hold(Shootdown& all) : all_(all) {
  std::unique_lock lock(all.mutex);
  all.changed.wait(lock, [&all] { return !all.held; });
  stop(lock);
}

Hold::Hold(Shootdown& all, Mmu& self) : all_(all) {
  std::unique_lock lock(all.mutex);
  self.running_ = false;
  all.changed.notify_all();
  for (;;) {
    all.changed.wait(lock, [&all] { return !all.held && all.aside == 0; });
    if (Shootdown::Clock::now() >= all.rest_until) break;
    all.changed.wait_until(lock, all.rest_until);
  }
  stop(lock);
  self.run_on();
}

void Hold::stop(std::unique_lock<std::mutex>& lock) {
  all_.held = true;
  ++all_.holds;
  all_.held_since = Shootdown::Clock::now();
  for (Mmu* p : all_.processors) {
    if (p->running_) p->cpu_.attention.store(true, std::memory_order_release);
  }
  all_.changed.wait(lock, [this] { return std::ranges::none_of(all_.processors, &Mmu::running_); });
}

Hold::~Hold() {
  const std::scoped_lock lock(all_.mutex);
  all_.held = false;
  all_.changed.notify_all();
}

void GuestMemory::Impl::forget_everywhere() {
  const std::scoped_lock lock(shootdown.mutex);
  for (Mmu* p : shootdown.processors) p->forget_ = true;
}

}  // namespace cloister::silicon
