// Who needs a page marks it busy, gets its SECS and a frame, loads it, and maps it, in this order: nothing of a page
// may be found before it is whole.
#include "hypervisor/epc/pager/pager.hpp"

#include <algorithm>
#include <chrono>

#include "hypervisor/specification.hpp"

namespace cloister::hypervisor {
namespace {

/// For others who have what is needed: a load or an eviction takes some dozens of microseconds.
constexpr std::chrono::milliseconds patience(1);
constexpr unsigned most_waits = 10'000;

}  // namespace

Pager::Pager(Domain domain, Backing backing)
    : package_(domain.package),
      memory_(domain.memory),
      gate_(domain.gate),
      handlers_(domain.handlers),
      leaves_(domain.leaves),
      mode_(domain.mode),
      least_(least_paged_epc(domain.pages.pages(), domain.vcpus)),
      book_(std::move(domain.pages)),
      backing_(std::move(backing)),
      versions_(domain.package),
      held_(domain.frames),
      free_(held_),
      pinned_(domain.vcpus),
      counts_(domain.counts == nullptr ? own_counts_ : *domain.counts) {
  const MutexLock held(lock_);
  free_all();
}

void Pager::free_all() {
  free_.clear();
  for (const vmx::EpcSection& section : held_.sections()) free_.add_new(section);
  counts_.start(held_.pages());
}

tl::expected<std::unique_ptr<Pager>, std::string> Pager::create(Domain domain) {
  const u64 frames = FrameSet(domain.frames).pages(), pages = domain.pages.pages();
  const u64 least = least_paged_epc(pages, domain.vcpus);
  if (frames < least)
    return tl::unexpected("EPC is paged with at least " + std::to_string(least) + " pages, found " +
                          std::to_string(frames));
  auto backing = Backing::create(pages);
  if (!backing) return tl::unexpected(std::string("no address space for evicted EPC"));
  domain.memory.set_accessed_dirty(true);
  return std::unique_ptr<Pager>(new Pager(std::move(domain), std::move(*backing)));
}

Pager::Need Pager::need(arch::Gpa address, u32 vcpu) {
  const EpcPage page = *book_.page_at(address);
  const MutexLock held(lock_);
  ++busy_;
  const Need found = bring(page);
  if (found == Need::there) pin_for(page, vcpu);
  --busy_;
  changed_.notify_all();
  return found;
}

bool Pager::absent(arch::Gpa address) const {
  const MutexLock held(lock_);
  const PageRecord* const record = book_.find(*book_.page_at(address));
  return record == nullptr || record->state == PageRecord::State::absent;
}

std::optional<arch::Mfn> Pager::frame_of(arch::Gpa address) {
  const auto page = book_.page_at(address);
  if (!page) return std::nullopt;
  const MutexLock held(lock_);
  const PageRecord* const record = book_.find(*page);
  if (record == nullptr || record->state != PageRecord::State::resident) return std::nullopt;
  return record->frame;
}

void Pager::settle(PageRecord& record, PageRecord::State state) {
  record.state = state;
  changed_.notify_all();
}

Pager::Need Pager::bring(EpcPage page) {
  PageRecord& record = book_[page];
  changed_.wait(lock_, [&]() { return record.state != PageRecord::State::busy; });
  if (record.state == PageRecord::State::resident) return Need::there;
  if (record.state == PageRecord::State::lost) return Need::lost;
  if (record.state == PageRecord::State::given) return Need::given;
  const PageRecord::State before = std::exchange(record.state, PageRecord::State::busy);
  const bool evicted = before == PageRecord::State::evicted, child = evicted && record.kind == PageRecord::Kind::child;
  const auto give_up = [&](Need why) CLOISTER_REQUIRES(lock_) {
    settle(record, before);
    return why;
  };

  PageRecord* const owner = child ? &book_[record.secs] : nullptr;
  if (owner != nullptr) {
    if (const Need found = bring(record.secs); found != Need::there) return give_up(found);
    ++owner->pins;  // a SECS may go only before its children have come
  }
  const auto frame = take_frame();
  Loaded loaded = Loaded::yes;
  if (frame && evicted) {
    const arch::Mfn secs = owner != nullptr ? owner->frame : arch::Mfn{};
    ++loading_;
    {
      const MutexUnlock apart(lock_);
      const auto before_load = std::chrono::steady_clock::now();
      loaded = load(page, record, *frame, secs);
      counts_.load_ns += nanoseconds_since(before_load);
    }
    --loading_;
  }
  if (owner != nullptr) --owner->pins;
  if (!frame) return give_up(Need::exhausted);
  if (evicted) {
    versions_.give_back(record.slot);
    backing_.give_back(record.image);
    --counts_.evicted;
    if (mode_ == PagingMode::oss && record.kind == PageRecord::Kind::secs) record.children_out = 0;  // it knows them
    if (versions_.unused()) tend_versions();
  }
  if (loaded == Loaded::refused) {
    free_.add(*frame);
    ++counts_.lost;
    return settle(record, PageRecord::State::lost), Need::lost;
  }
  record.frame = *frame;
  [[maybe_unused]] const auto mapped = memory_.map_epc(book_.address_of(page), *frame);
  ++counts_.resident;
  mark(record, true);
  settle(record, PageRecord::State::resident);
  return Need::there;
}

/// That a batch stays says nothing of the rest: it may be SECSs in a row, which are chosen last from now on, or
/// children whose SECS somebody else had for a moment. So each page has its turn before there is none.
std::optional<arch::Mfn> Pager::take_frame() {
  u64 stayed = 0;
  for (unsigned waits = 0; none_free();) {
    const std::vector<EpcPage> victims = choose(batch);
    if (const std::size_t gained = evict(victims); gained > 0) {
      counts_.shortages += gained;
      stayed = 0;
      continue;
    }
    stayed += victims.size();
    if (!victims.empty() && stayed <= held_.pages() + batch) continue;
    // What others load and evict is nobody's victim now, and will be.
    if ((evicting_ == 0 && loading_ == 0) || ++waits == most_waits) return std::nullopt;
    changed_.wait_for(lock_, patience, [this]() CLOISTER_REQUIRES(lock_) { return !none_free(); });
  }
  return free_.take();
}

void Pager::pin_for(EpcPage page, u32 vcpu) {
  std::vector<EpcPage>& last = pinned_[vcpu];
  if (const auto again = std::ranges::find(last, page); again != last.end()) {
    std::rotate(again, again + 1, last.end());
    return;
  }
  if (last.size() == pinned) {
    --book_[last.front()].pins;
    last.erase(last.begin());
  }
  last.push_back(page);
  ++book_[page].pins;
}

void Pager::forget() {
  const MutexLock held(lock_);
  changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return busy_ == 0; });
  for (std::vector<EpcPage>& last : pinned_) last.clear();
  for (u64 number = 0; number < book_.pages(); ++number) {
    const EpcPage page{number};
    if (book_.find(page) == nullptr) {
      number |= PageBook::chunk_pages - 1;
      continue;
    }
    PageRecord& record = book_[page];
    if (record.state == PageRecord::State::resident) memory_.unmap_epc(book_.address_of(page));
    if (record.state == PageRecord::State::evicted) backing_.give_back(record.image);
    if (record.state != PageRecord::State::given) record = {};
  }
  versions_.remove_all();
  free_all();
}

void Pager::lend(std::span<const vmx::EpcSection> frames) {
  const MutexLock guard(lock_);
  for (const vmx::EpcSection& section : frames) {
    held_.add(section);
    free_.add_new(section);
  }
  counts_.frames = held_.pages();
  changed_.notify_all();
}

std::vector<vmx::EpcSection> Pager::held() {
  const MutexLock guard(lock_);
  return held_.sections();
}

vmx::EnclsResult Pager::encls(arch::EnclsLeaf leaf, const vmx::LeafOperands& operands) {
  return until_free(leaves_, [&] { return package_.encls(leaf, operands); });
}

vmx::EnclsResult Pager::enclv(arch::EnclvLeaf leaf, const vmx::LeafOperands& operands) {
  return until_free(leaves_, [&] { return package_.enclv(leaf, operands); });
}

}  // namespace cloister::hypervisor
