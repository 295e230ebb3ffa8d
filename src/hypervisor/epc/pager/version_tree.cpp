// Version arrays as a tree: each that is evicted has its version in a slot of another one (SDM vol. 3D, 37.5.4), a
// level above. 512 slots an array make a tree of two levels for a GiB, and of three for what machines have.
#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "arch/try.hpp"
#include "hypervisor/epc/answer.hpp"
#include "hypervisor/epc/pager/version_pages.hpp"

namespace cloister::hypervisor {

namespace {

tl::unexpected<std::string> array_refused(const char* what, u32 number) {
  return tl::unexpected(fmt::format("version array {}: {}", number, what));
}

}  // namespace

tl::expected<std::vector<MovedArray>, std::string> VersionPages::evict_all(const Frames& frames) {
  std::vector<u32> level;
  for (u32 number = 0; number < pages_.size(); ++number) {
    if (pages_[number].there) level.push_back(number);
  }
  const auto another = [&]() -> std::optional<u32> {
    const auto frame = frames.take();
    const auto number = frame ? make(*frame) : std::nullopt;
    if (frame && !number) frames.give_back(*frame);
    return number;
  };
  if (level.empty()) {
    const auto number = another();
    if (!number) return tl::unexpected(std::string("there is no frame for a version array"));
    level.push_back(*number);
  }
  std::vector<MovedArray> gone;
  while (level.size() > 1) {
    std::vector<u32> above;
    for (const u32 number : level) {
      Done done;
      if (above.empty() || pages_[above.back()].used == slots) {
        if (const auto parent = another())
          above.push_back(*parent);
        else
          done = tl::unexpected(std::string("there is no frame for a version array"));
      }
      MovedArray array;
      if (done) done = evict_into(number, above.back(), array, frames);
      if (!done) {
        for (auto back = gone.rbegin(); back != gone.rend(); ++back) {
          if (const Done loaded = load(*back, frames); !loaded) return tl::unexpected(loaded.error());
        }
        remove_unused(frames);
        return tl::unexpected(done.error());
      }
      gone.push_back(std::move(array));
    }
    level = std::move(above);
  }
  return gone;
}

VersionPages::Done VersionPages::evict_into(u32 number, u32 parent, MovedArray& to, const Frames& frames) {
  Page& page = pages_[number];
  to = {.number = number, .slot = {parent, pages_[parent].used}, .image = std::make_unique<SealedPage>()};
  vmx::PageinfoOperand pageinfo{
      .linaddr = 0, .source = to.image->bytes, .secinfo = to.image->pcmd, .secs = std::nullopt};
  const vmx::EnclsResult written =
      package_.encls(arch::EnclsLeaf::ewb, {.page = page.frame, .pageinfo = &pageinfo, .version = place_of(to.slot)});
  if (!done(written)) return array_refused("it cannot be evicted", number);
  occupy(to.slot);
  free_ -= slots - page.used;
  --count_;
  page.there = false;
  page.out = true;
  frames.give_back(page.frame);
  return {};
}

u32 VersionPages::last_number() const {
  assert(count_ == 1);
  return static_cast<u32>(std::ranges::find(pages_, true, &Page::there) - pages_.begin());
}

VersionPages::Done VersionPages::load(const MovedArray& array, const Frames& frames) {
  Page& page = pages_[array.number];
  if (!page.out) return array_refused("it is there already", array.number);
  if (array.slot.page >= pages_.size() || !pages_[array.slot.page].there)
    return array_refused("what has its version is not there", array.number);
  const auto frame = frames.take();
  if (!frame) return array_refused("there is no frame for it", array.number);
  vmx::PageinfoOperand pageinfo{
      .linaddr = 0, .source = array.image->bytes, .secinfo = array.image->pcmd, .secs = std::nullopt};
  const vmx::EnclsResult loaded =
      package_.encls(arch::EnclsLeaf::eldu, {.page = *frame, .pageinfo = &pageinfo, .version = place_of(array.slot)});
  if (!done(loaded)) {
    frames.give_back(*frame);
    return array_refused("it is not what was evicted last, or was altered", array.number);
  }
  page.frame = *frame;
  page.there = true;
  page.out = false;
  free_ += slots - page.used;
  ++count_;
  give_back(array.slot);
  return {};
}

void VersionPages::remove_unused(const Frames& frames) {
  for (Page& page : pages_) {
    if (!page.there || page.used != 0 || !done(package_.eremove(page.frame))) continue;
    page.there = false;
    free_ -= slots;
    --count_;
    frames.give_back(page.frame);
  }
}

/// Of the slots of one that is there `free_` knows; of one that is out, its record alone.
bool VersionPages::occupy(SlotName slot) {
  if (slot.page >= pages_.size() || slot.index >= slots) return false;
  Page& page = pages_[slot.page];
  u64& word = page.bits[slot.index / 64];
  const u64 bit = u64{1} << slot.index % 64;
  if ((!page.there && !page.out) || (word & bit) != 0) return false;
  word |= bit;
  ++page.used;
  if (page.there) --free_;
  return true;
}

VersionPages::Done VersionPages::expect(const MovedEpc& moved, arch::Mfn root, u64 most) {
  assert(pages_.empty());
  u32 last = moved.root;
  for (const MovedArray& array : moved.arrays) last = std::max(last, array.number);
  if (last >= most) return array_refused("expected a lower number", last);
  pages_.resize(last + 1);
  pages_[moved.root] = {.frame = root, .there = true};
  count_ = 1;
  free_ = slots;
  for (const MovedArray& array : moved.arrays) {
    Page& page = pages_[array.number];
    if (page.there || page.out) return array_refused("it is there twice", array.number);
    page.out = true;
  }
  for (const MovedArray& array : moved.arrays) {
    if (!occupy(array.slot)) return array_refused("its slot is none, or another's", array.number);
  }
  for (const MovedPage& page : moved.pages) {
    if (!occupy(page.slot))
      return tl::unexpected(fmt::format("EPC page {:#x}: its version's slot is none, or another's", page.address));
  }
  return {};
}

}  // namespace cloister::hypervisor
