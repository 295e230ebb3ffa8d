// All EPC of a domain goes, and comes back (epc/moving/movable_epc.hpp): what is out is evicted as ever, and what comes
// in is evicted, too, until the guest needs it.
//
// A SECS leaves with no virtual children, whose count is in its image: what pages the domain elsewhere may know nothing
// of it. The count is in its record then, and a pager with OSS counts anew when it loads the SECS.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "arch/try.hpp"
#include "hypervisor/epc/pager/pager.hpp"

namespace cloister::hypervisor {

VersionPages::Frames Pager::frames() {
  return {.take = [this]() CLOISTER_REQUIRES(lock_) { return free_.take(); },
          .give_back = [this](arch::Mfn frame) CLOISTER_REQUIRES(lock_) { free_.add(frame); }};
}

tl::expected<const MovedEpc*, std::string> Pager::evict_all() {
  const MutexLock held(lock_);
  changed_.wait(lock_, [this]() CLOISTER_REQUIRES(lock_) { return busy_ == 0; });
  moving_ = true;
  MovableEpc::Done out = evict_rest();
  if (out) out = uncount_children();
  if (out) {
    auto arrays = versions_.evict_all(frames());
    if (arrays) {
      moved_ = describe();
      moved_->arrays = std::move(*arrays);
      moved_->root = versions_.last_number();
      return &*moved_;
    }
    out = tl::unexpected(arrays.error());
  }
  moving_ = false;
  return tl::unexpected(out.error());
}

/// Children go first: a SECS stays as long as it has any.
MovableEpc::Done Pager::evict_rest() {
  for (std::vector<EpcPage>& last : pinned_) {
    for (const EpcPage page : last) --book_[page].pins;
    last.clear();
  }
  for (;;) {
    std::vector<EpcPage> left;
    for_each_record([&](EpcPage page, const PageRecord& record) {
      if (record.state == PageRecord::State::resident) left.push_back(page);
    });
    if (left.empty()) return {};
    std::size_t gone = 0;
    for (std::span<const EpcPage> rest(left); !rest.empty(); rest = rest.subspan(std::min(batch, rest.size())))
      gone += evict(rest.first(std::min(batch, rest.size())));
    if (gone == 0) return tl::unexpected(fmt::format("{} EPC pages cannot be evicted", left.size()));
  }
}

/// Of those that are lost nobody knows any more where they go.
MovableEpc::Done Pager::uncount_children() {
  if (mode_ != PagingMode::oss) return {};
  std::map<EpcPage, u32> children;
  for_each_record([&](EpcPage, const PageRecord& record) {
    if (record.kind != PageRecord::Kind::child) return;
    if (record.state == PageRecord::State::evicted) ++children[record.secs];
    if (record.state == PageRecord::State::lost) children.try_emplace(record.secs);
  });
  for (const auto& [secs, count] : children) {
    PageRecord& record = book_[secs];
    if (record.state != PageRecord::State::evicted || record.kind != PageRecord::Kind::secs) continue;
    if (count != 0 && record.children_out == count) continue;  // it has not been here since it came
    if (bring(secs) != Need::there) continue;                  // lost, and so are they
    while (done(enclv(arch::EnclvLeaf::edecvirtchild, {.page = record.frame, .child = record.frame}))) {
    }
    if (evict(std::span(&secs, 1)) != 1)
      return tl::unexpected(fmt::format("the SECS at {:#x} cannot be evicted", book_.address_of(secs).value));
    record.children_out = count;
  }
  return {};
}

MovedEpc Pager::describe() {
  MovedEpc moved;
  for_each_record([&](EpcPage page, const PageRecord& record) {
    const u64 address = book_.address_of(page).value;
    if (record.state == PageRecord::State::lost) moved.lost.push_back(address);
    if (record.state != PageRecord::State::evicted) return;
    moved.pages.push_back({.address = address,
                           .kind = record.kind,
                           .guest_blocked = record.guest_blocked,
                           .secs = record.kind == PageRecord::Kind::child ? book_.address_of(record.secs).value : 0,
                           .linaddr = record.linaddr,
                           .slot = record.slot});
  });
  return moved;
}

SealedSpan Pager::image_of(arch::Gpa page) {
  const MutexLock held(lock_);
  const PageRecord& record = book_[*book_.page_at(page)];
  return {.bytes = backing_.page(record.image), .pcmd = backing_.pcmd(record.image)};
}

arch::Mfn Pager::root() const {
  const MutexLock held(lock_);
  return versions_.frame_of(versions_.last_number());
}

tl::expected<arch::Mfn, std::string> Pager::expect(MovedEpc moved, MovedImages images) {
  const MutexLock held(lock_);
  moving_ = true;
  const auto root = free_.take();
  if (!root) return tl::unexpected(std::string("there is no frame for the root of its EPC"));
  TRY(versions_.expect(moved, *root, book_.pages() + VersionPages::slots));
  // SECSs first, so that a child's is known.
  std::stable_partition(moved.pages.begin(), moved.pages.end(),
                        [](const MovedPage& page) { return page.kind == PageRecord::Kind::secs; });
  for (const MovedPage& page : moved.pages) {
    auto image = images.extract(page.address);
    if (image.empty()) return tl::unexpected(fmt::format("EPC page {:#x} has not come", page.address));
    TRY(expect_page(page, *image.mapped()));
  }
  for (const u64 address : moved.lost) {
    const auto page = book_.page_at(arch::Gpa{address});
    if (!page || book_[*page].state != PageRecord::State::absent)
      return tl::unexpected(fmt::format("{:#x} is no page of EPC that can be lost", address));
    book_[*page].state = PageRecord::State::lost;
    ++counts_.lost;
  }
  moved.pages.clear();
  moved_ = std::move(moved);
  return *root;
}

MovableEpc::Done Pager::expect_page(const MovedPage& moved, SealedPage& image) {
  const auto cannot_be = [&](const char* why) {
    return tl::unexpected(fmt::format("EPC page {:#x}: {}", moved.address, why));
  };
  const auto page = book_.page_at(arch::Gpa{moved.address});
  if (!page || arch::page_offset(moved.address) != 0) return cannot_be("it is none");
  PageRecord& record = book_[*page];
  if (record.state != PageRecord::State::absent) return cannot_be("it is there already, or was given back");
  if (moved.kind == PageRecord::Kind::child) {
    const auto secs = book_.page_at(arch::Gpa{moved.secs});
    if (!secs || book_[*secs].state != PageRecord::State::evicted || book_[*secs].kind != PageRecord::Kind::secs)
      return cannot_be("its SECS is none");
    record.secs = *secs;
    record.owned = true;
    ++book_[*secs].children_out;
  }
  const auto place = backing_.take();
  if (!place) return cannot_be("there is no memory for it");
  std::ranges::copy(image.bytes, backing_.page(*place).begin());
  std::ranges::copy(image.pcmd, backing_.pcmd(*place).begin());
  record.kind = moved.kind;
  record.guest_blocked = moved.guest_blocked;
  record.linaddr = moved.linaddr;
  record.slot = moved.slot;
  record.image = *place;
  record.state = PageRecord::State::evicted;
  ++counts_.evicted;
  return {};
}

MovableEpc::Done Pager::load_arrays() {
  const MutexLock held(lock_);
  for (auto array = moved_->arrays.rbegin(); array != moved_->arrays.rend(); ++array)
    TRY(versions_.load(*array, frames()));
  return {};
}

MovableEpc::Done Pager::go_on() {
  const MutexLock held(lock_);
  versions_.remove_unused(frames());
  moved_.reset();
  moving_ = false;
  tend_versions();
  return {};
}

void Pager::give_up() {
  forget();
  const MutexLock held(lock_);
  moved_.reset();
  moving_ = false;
}

}  // namespace cloister::hypervisor
