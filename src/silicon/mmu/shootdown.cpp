// Stopping inline stores into a page that blocks are about to be cached from, on every processor (see memory.hpp).
//
// A processor takes requests over between two blocks, or at its next entry. One that waits for others takes over what
// they ask of it, so that two that wait for each other both get on.
#include <algorithm>

#include "silicon/mmu/mmu.hpp"

namespace cloister::silicon {

namespace {
constexpr std::size_t most_requests = 64;  ///< beyond, forgetting all permissions is cheaper
}

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
  if (memory_.shootdown.count.load(std::memory_order_relaxed) > 1) protect_everywhere(page.host);
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

void Mmu::enter() {
  if (memory_.shootdown.count.load(std::memory_order_relaxed) == 1) return;
  const std::scoped_lock lock(memory_.shootdown.mutex);
  take_over();
  running_ = true;
}

void Mmu::leave() {
  if (memory_.shootdown.count.load(std::memory_order_relaxed) == 1) return;
  const std::scoped_lock lock(memory_.shootdown.mutex);
  running_ = false;
  if (has_requests()) memory_.shootdown.changed.notify_all();
}

void Mmu::attend() {
  const std::scoped_lock lock(memory_.shootdown.mutex);
  take_over();
}

}  // namespace cloister::silicon
