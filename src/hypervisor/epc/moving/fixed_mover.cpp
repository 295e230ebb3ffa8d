#include "hypervisor/epc/moving/fixed_mover.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "arch/try.hpp"
#include "hypervisor/epc/answer.hpp"
#include "hypervisor/epc/pager/paging_mode.hpp"

namespace cloister::hypervisor {
namespace {

/// Of the levels above so many version arrays.
u64 arrays_above(u64 arrays) {
  u64 all = 0;
  while (arrays > 1) {
    arrays = (arrays + VersionPages::slots - 1) / VersionPages::slots;
    all += arrays;
  }
  return all;
}

u64 enclave_of(const SealedPage& image) {
  arch::Pcmd pcmd;
  std::memcpy(&pcmd, image.pcmd.data(), sizeof pcmd);
  return pcmd.enclaveid;
}

}  // namespace

VersionPages::Frames FixedMover::frames() {
  return {.take = [this]() -> std::optional<arch::Mfn> {
            if (!have_free(1)) return std::nullopt;
            const arch::Mfn frame = free_.back();
            free_.pop_back();
            return frame;
          },
          .give_back = [this](arch::Mfn frame) { free_.push_back(frame); }};
}

/// All others are free.
std::vector<FixedMover::Used> FixedMover::find_used() {
  const std::vector<vmx::EpcSection> touched = package_.used_epc();
  std::vector<Used> used;
  free_.clear();
  for (u64 number = 0; number < pages_.pages(); ++number) {
    const arch::Gpa page = pages_.address_of(EpcPage{number});
    const auto frame = epc_.frame_of(page);
    if (!frame || pager_.is_taken(page)) continue;
    const bool maybe = !touched.empty() && lies_in(touched, *frame);
    if (maybe && make_free(package_, leaves_, *frame)) {
      used.push_back({.page = {.address = page.value}, .frame = *frame});
    } else {
      free_.push_back(*frame);
    }
  }
  return used;
}

bool FixedMover::have_free(u64 frames) {
  while (free_.size() < frames) {
    const auto spare = epc_.borrow();
    if (!spare) return false;
    free_.push_back(*spare);
  }
  return true;
}

FixedMover::Done FixedMover::make_room(u64 pages) {
  const u64 lacking = pages - std::min(pages, versions_.free_slots());
  const u64 more = (lacking + VersionPages::slots - 1) / VersionPages::slots;
  const u64 all = std::max<u64>(versions_.pages() + more, 1);
  if (const u64 needed = all - versions_.pages() + arrays_above(all); !have_free(needed))
    return tl::unexpected(fmt::format("{} of its EPC pages are free or lent to it, expected {} for the versions of {}",
                                      free_.size(), needed, pages));
  while (versions_.free_slots() < pages || versions_.pages() == 0) {
    if (!versions_.add(free_.back())) return tl::unexpected(std::string("a free page of its EPC is none"));
    free_.pop_back();
  }
  return {};
}

void FixedMover::block(std::vector<Used>& used) {
  for (Used& one : used) {
    const vmx::EnclsResult told = package_.encls(arch::EnclsLeaf::eblock, {.page = one.frame});
    const arch::Gpa page{one.page.address};
    const bool was_blocked = is(told, arch::SgxError::blkstate);
    one.page.guest_blocked = was_blocked && !pager_.has_blocked(page);
    one.is_child = done(told) || was_blocked;
    if (one.is_child && !one.page.guest_blocked) pager_.set_blocked(page, true);
    const bool secs = is(told, arch::SgxError::pg_is_secs);
    one.goes = one.is_child || secs || is(told, arch::SgxError::notblockable);
    one.page.kind = one.is_child ? PageRecord::Kind::child : secs ? PageRecord::Kind::secs : PageRecord::Kind::va;
  }
  for (const Used& one : used) {
    if (one.page.kind == PageRecord::Kind::secs) package_.encls(arch::EnclsLeaf::etrack, {.page = one.frame});
  }
}

bool FixedMover::write_out(Used& used) {
  SealedPage& image = *images_.at(used.page.address);
  used.page.slot = versions_.take();
  vmx::PageinfoOperand pageinfo{.linaddr = 0, .source = image.bytes, .secinfo = image.pcmd, .secs = std::nullopt};
  const vmx::EnclsResult written = package_.encls(
      arch::EnclsLeaf::ewb, {.page = used.frame, .pageinfo = &pageinfo, .version = versions_.place_of(used.page.slot)});
  used.page.linaddr = pageinfo.linaddr;
  if (written_out(written)) {
    pager_.set_blocked(arch::Gpa{used.page.address}, false);
    moved_.pages.push_back(used.page);
    return true;
  }
  versions_.give_back(used.page.slot);
  return false;
}

tl::expected<const MovedEpc*, std::string> FixedMover::evict_all() {
  moved_ = {};
  images_.clear();
  left_early_.clear();
  const auto as_before = [this](std::string why) {
    if (const Done back = go_on(); !back) why += "; and then: " + back.error();
    return tl::unexpected(std::move(why));
  };
  for (FixedPager::Out& out : pager_.take_out()) {
    if (out.handed_out) left_early_.insert(out.page.address);
    images_[out.page.address] = std::move(out.image);
    moved_.pages.push_back(out.page);
  }
  std::vector<Used> used = find_used();
  try {
    for (const Used& one : used) images_[one.page.address] = std::make_unique<SealedPage>();
    moved_.pages.reserve(moved_.pages.size() + used.size());
  } catch (const std::bad_alloc&) {
    return as_before("no memory for what is evicted");
  }
  if (const Done room = make_room(used.size()); !room) return as_before(room.error());
  block(used);
  // A SECS after its children.
  std::stable_partition(used.begin(), used.end(),
                        [](const Used& one) { return one.page.kind != PageRecord::Kind::secs; });
  u64 stay = 0;
  for (Used& one : used) stay += one.goes && write_out(one) ? 0 : 1;
  join();
  std::string why;
  if (stay != 0) {
    why = fmt::format("{} EPC pages cannot be evicted", stay);
  } else if (auto arrays = versions_.evict_all(frames())) {
    moved_.arrays = std::move(*arrays);
    moved_.root = versions_.last_number();
    return &moved_;
  } else {
    why = arrays.error();
  }
  return as_before(std::move(why));
}

void FixedMover::join() {
  std::map<u64, u64> secs_of;
  for (const MovedPage& page : moved_.pages) {
    if (page.kind == PageRecord::Kind::secs) secs_of[enclave_of(*images_.at(page.address))] = page.address;
  }
  for (MovedPage& page : moved_.pages) {
    if (page.kind == PageRecord::Kind::child) page.secs = secs_of[enclave_of(*images_.at(page.address))];
  }
}

SealedSpan FixedMover::image_of(arch::Gpa page) {
  SealedPage& image = *images_.at(page.value);
  return {.bytes = image.bytes, .pcmd = image.pcmd};
}

tl::expected<arch::Mfn, std::string> FixedMover::expect(MovedEpc moved, MovedImages images) {
  for (const MovedPage& page : moved.pages) {
    if (!epc_.frame_of(arch::Gpa{page.address}) || arch::page_offset(page.address) != 0)
      return tl::unexpected(fmt::format("{:#x} is no page of EPC that has a frame", page.address));
    if (!images.contains(page.address)) return tl::unexpected(fmt::format("EPC page {:#x} has not come", page.address));
  }
  free_.clear();
  for (u64 number = 0; number < pages_.pages(); ++number) {
    const arch::Gpa page = pages_.address_of(EpcPage{number});
    const auto frame = epc_.frame_of(page);
    if (frame && !images.contains(page.value)) free_.push_back(*frame);
  }
  if (!have_free(moved.arrays.size() + 1))
    return tl::unexpected(fmt::format("{} of its EPC pages are free or lent to it, expected {} for the versions of {}",
                                      free_.size(), moved.arrays.size() + 1, moved.pages.size()));
  const arch::Mfn root = free_.back();
  free_.pop_back();
  if (const auto done = versions_.expect(moved, root, pages_.pages() + VersionPages::slots); !done)
    return tl::unexpected(done.error());
  moved_ = std::move(moved);
  images_ = std::move(images);
  arrives_ = true;
  return root;
}

FixedMover::Done FixedMover::load_arrays() {
  for (auto array = moved_.arrays.rbegin(); array != moved_.arrays.rend(); ++array)
    TRY(versions_.load(*array, frames()));
  return {};
}

/// Where its SECS is not, or its image was altered, a page is lost: it is free, and the guest finds no enclave.
void FixedMover::load(const MovedPage& page) {
  const arch::Mfn frame = *epc_.frame_of(arch::Gpa{page.address});
  const auto secs = page.kind == PageRecord::Kind::child ? epc_.frame_of(arch::Gpa{page.secs}) : std::nullopt;
  const SealedSpan image = image_of(arch::Gpa{page.address});
  vmx::PageinfoOperand pageinfo{.linaddr = page.linaddr, .source = image.bytes, .secinfo = image.pcmd, .secs = secs};
  const arch::EnclsLeaf leaf = page.guest_blocked ? arch::EnclsLeaf::eldb : arch::EnclsLeaf::eldu;
  const vmx::EnclsResult loaded =
      package_.encls(leaf, {.page = frame, .pageinfo = &pageinfo, .version = versions_.place_of(page.slot)});
  versions_.give_back(page.slot);
  if (done(loaded) && page.kind == PageRecord::Kind::secs && has_oss(package_))
    package_.enclv(arch::EnclvLeaf::esetcontext, {.page = frame, .context = page.address});
}

void FixedMover::give_up() {
  versions_.remove_all();
  be_here();
}

/// What is late somebody brings: who lets an arrived domain run, or end_early().
FixedMover::Done FixedMover::go_on() {
  std::stable_partition(moved_.pages.begin(), moved_.pages.end(),
                        [](const MovedPage& page) { return page.kind == PageRecord::Kind::secs; });
  std::vector<FixedPager::Out> late;
  const bool may_be_late = (std::exchange(arrives_, false) || begun_) && pager_.can_come_late();
  for (const MovedPage& page : moved_.pages) {
    if (may_be_late && page.kind == PageRecord::Kind::child)
      late.push_back({.page = page, .image = std::move(images_.at(page.address))});
    else
      load(page);
  }
  if (late.empty())
    versions_.remove_all();
  else
    pager_.come_late(std::move(late));
  be_here();
  return {};
}

void FixedMover::be_here() {
  moved_ = {};
  images_.clear();
  left_early_.clear();
  free_.clear();
  epc_.take_borrowed_back(versions_.frames_there());
  pager_.put_back();
}

}  // namespace cloister::hypervisor
