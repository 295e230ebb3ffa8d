// The diagnostics door: EPCM files read as bytes, which need not be what a well-behaved process would leave there.
#include "silicon/sgx/epc/diagnostics.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "arch/try.hpp"
#include "silicon/sgx/epc/package_impl.hpp"
#include "silicon/sgx/epc/page_info.hpp"

namespace cloister::silicon::diagnostics {

namespace {

using arch::PageType;

/// The bytes of an entry. Flags and types are looked at as numbers, since any byte may be there.
struct RawEntry {
  std::array<u8, sizeof(EpcmEntry)> bytes;

  template <class T>
  T at(std::size_t offset) const {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  }
  bool flag(std::size_t offset) const { return bytes[offset] != 0; }
  bool valid() const { return flag(offsetof(EpcmEntry, valid)) && bytes[offsetof(EpcmEntry, type)] < page_types; }
  PageType type() const { return static_cast<PageType>(bytes[offsetof(EpcmEntry, type)]); }
};
static_assert(sizeof(RawEntry) == sizeof(EpcmEntry));

Page page_of(const RawEntry& raw, u32 index) {
  Page page;
  page.index = index;
  page.type = raw.type();
  page.read = raw.flag(offsetof(EpcmEntry, read));
  page.write = raw.flag(offsetof(EpcmEntry, write));
  page.execute = raw.flag(offsetof(EpcmEntry, execute));
  page.blocked = raw.flag(offsetof(EpcmEntry, blocked));
  page.pending = raw.flag(offsetof(EpcmEntry, pending));
  page.modified = raw.flag(offsetof(EpcmEntry, modified));
  page.permission_restricted = raw.flag(offsetof(EpcmEntry, permission_restricted));
  page.enclave_address = raw.at<u64>(offsetof(EpcmEntry, enclave_address));
  if (page.type == PageType::secs) page.eid = raw.at<u64>(offsetof(EpcmEntry, eid));
  return page;
}

template <std::size_t n, std::size_t m>
void copy_counts(std::array<u64, n>& to, const std::array<EventCounts::Count, m>& from) {
  static_assert(n == m);
  std::ranges::transform(from, to.begin(), [](const auto& count) { return count.load(std::memory_order_relaxed); });
}

}  // namespace

class Observer::Impl {
 public:
  Fd file;
  u64 pages = 0;

  /// Calls f(index, entry) for entries that were ever used, in order.
  template <class F>
  void for_each_entry(F&& f) const {
    constexpr u64 chunk = 1024;
    std::vector<RawEntry> entries(chunk);
    for_each_data(file.get(), epcm_entries_at, EpcMemory::Impl::epcm_bytes(pages), [&](u64 first, u64 end) {
      for (u64 at = first; at < end;) {
        const u64 wanted = std::min(end - at, chunk * sizeof(RawEntry));
        if (::pread(file.get(), entries.data(), wanted, static_cast<off_t>(at)) != static_cast<ssize_t>(wanted)) return;
        const u64 index = (at - epcm_entries_at) / sizeof(RawEntry);
        for (u64 i = 0; i < wanted / sizeof(RawEntry); ++i) f(static_cast<u32>(index + i), entries[i]);
        at += wanted;
      }
    });
  }
};

Observer::Observer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Observer::Observer(Observer&&) noexcept = default;
Observer& Observer::operator=(Observer&&) noexcept = default;
Observer::~Observer() = default;

tl::expected<Observer, MemoryError> Observer::open(int epcm_descriptor) {
  struct stat status {};
  if (::fstat(epcm_descriptor, &status) != 0 || static_cast<u64>(status.st_size) < epcm_entries_at) {
    return tl::unexpected(MemoryError::wrong_size);
  }
  const u64 pages = (static_cast<u64>(status.st_size) - epcm_entries_at) / sizeof(EpcmEntry);
  auto file = TRY(borrow_sealed(epcm_descriptor, EpcMemory::Impl::epcm_bytes(pages)));
  if (!epcm_header_fits(file.get(), pages)) return tl::unexpected(MemoryError::wrong_layout);
  auto impl = std::make_unique<Impl>();
  impl->file = std::move(file);
  impl->pages = pages;
  return Observer(std::move(impl));
}

tl::expected<Observer, MemoryError> Observer::of(PackageImpl& package) {
  return open(package.memory().epcm_descriptor());
}

u64 Observer::pages() const { return impl_->pages; }

std::vector<Page> Observer::valid_pages() const {
  struct Seen {
    Page page;
    u32 secs;
  };
  std::vector<Seen> seen;
  std::unordered_map<u32, u64> eids;  // by index of the SECS
  impl_->for_each_entry([&](u32 index, const RawEntry& raw) {
    if (!raw.valid()) return;
    seen.push_back({page_of(raw, index), raw.at<u32>(offsetof(EpcmEntry, secs))});
    if (raw.type() == PageType::secs) eids[index] = seen.back().page.eid;
  });
  std::vector<Page> pages;
  pages.reserve(seen.size());
  for (const Seen& s : seen) {
    pages.push_back(s.page);
    if (!has_owner(s.page.type)) continue;
    if (const auto eid = eids.find(s.secs); eid != eids.end()) pages.back().eid = eid->second;
  }
  return pages;
}

PageCounts Observer::count() const {
  PageCounts counts;
  u64 valid = 0;
  impl_->for_each_entry([&](u32 index, const RawEntry& raw) {
    if (!raw.valid()) return;
    const Page page = page_of(raw, index);
    ++valid;
    ++counts.valid[static_cast<std::size_t>(page.type)];
    counts.blocked += page.blocked;
    counts.pending += page.pending;
    counts.modified += page.modified;
  });
  counts.free = impl_->pages - valid;
  return counts;
}

Events Observer::events() const {
  EventCounts now{};
  Events events;
  const ssize_t got = ::pread(impl_->file.get(), static_cast<void*>(&now), sizeof now, offsetof(EpcmHeader, counts));
  if (got != static_cast<ssize_t>(sizeof now)) return events;
  copy_counts(events.encls, now.encls);
  copy_counts(events.enclu, now.enclu);
  copy_counts(events.enclv, now.enclv);
  copy_counts(events.einit_failures, now.einit_failures);
  events.asynchronous_exits = now.asynchronous_exits;
  events.instructions = now.instructions;
  return events;
}

tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, MemoryError> on_heap(
    tl::expected<Observer, MemoryError> observer) {
  if (!observer) return tl::unexpected(observer.error());
  return std::make_unique<Observer>(std::move(*observer));
}

}  // namespace cloister::silicon::diagnostics

namespace cloister::silicon {

tl::expected<std::unique_ptr<vmx::diagnostics::Observer>, MemoryError> EpcMemory::observe() const {
  return diagnostics::on_heap(diagnostics::Observer::open(epcm_descriptor()));
}

}  // namespace cloister::silicon
