#include "hypervisor/saving/enclaves.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "arch/try.hpp"
#include "hypervisor/epc/clean.hpp"

namespace cloister::hypervisor {
namespace {

/// Some 200 KiB.
constexpr std::size_t rows_of_a_record = 4096;

const char* why_not(vmx::MoveError error) {
  using enum vmx::MoveError;
  switch (error) {
    case package_busy: return "a leaf runs in its package";
    case latched: return "its package is part of another move, or has been";
    case session_used: return "its package has been part of this move already";
    case not_epc:
    case not_root: return "what is to be its root is none";
    case not_alone: return "its EPC is not empty";
    case not_authentic: return "its root was altered, or sealed for another move";
    case other_platform: return "its platform's keys are others";
    case cpusvn: return "its CPUSVN is beyond that of this machine's microcode";
    case wrong_token: return "the token is not this move's";
  }
  return "it cannot be moved";
}
tl::unexpected<std::string> move_refused(vmx::MoveError error) {
  return tl::unexpected(fmt::format("its enclaves: {}", why_not(error)));
}
tl::unexpected<std::string> enclaves_stay(const std::string& why) { return tl::unexpected("its enclaves: " + why); }

template <class Image>
void put_image(Image& to, const SealedSpan& from) {
  std::memcpy(to.bytes.data(), from.bytes.data(), to.bytes.size());
  std::memcpy(to.pcmd.data(), from.pcmd.data(), to.pcmd.size());
}
template <class Image>
std::unique_ptr<SealedPage> page_of(const Image& from) {
  auto image = std::make_unique<SealedPage>();
  std::memcpy(image->bytes.data(), from.bytes.data(), from.bytes.size());
  std::memcpy(image->pcmd.data(), from.pcmd.data(), from.pcmd.size());
  return image;
}

Loaded write_moved(const MovedEpc& moved, MovableEpc& epc, stream::Writer& to, Sent sent) {
  std::size_t row = 0;
  do {
    const std::size_t end = std::min(moved.pages.size(), row + rows_of_a_record);
    EpcMapState map{.pages = {moved.pages.begin() + static_cast<std::ptrdiff_t>(row),
                              moved.pages.begin() + static_cast<std::ptrdiff_t>(end)}};
    if (row == 0) map.lost = moved.lost;
    TRY(to.value(stream::Kind::epc_map, map));
    row = end;
  } while (row < moved.pages.size());
  for (const MovedPage& page : moved.pages) {
    const arch::Gpa at{page.address};
    if (sent == Sent::early && epc.has_left_early(at)) continue;
    TRY(write_epc_page(at, epc.image_of(at), to));
  }
  for (const MovedArray& array : moved.arrays) {
    VaPageState state{.number = array.number, .slot = array.slot};
    put_image(state, {.bytes = array.image->bytes, .pcmd = array.image->pcmd});
    TRY(to.value(stream::Kind::va_page, state));
  }
  return {};
}

Loaded bring_back(MovableEpc& epc) {
  TRY(epc.load_arrays());
  return epc.go_on();
}
/// What went wrong, once all is as before.
std::string and_back(const std::string& why, MovableEpc& epc) {
  const Loaded back = bring_back(epc);
  return back ? why : why + "; and then: " + back.error();
}

}  // namespace

Loaded can_move_enclaves(Machine& machine) {
  if (machine.movable_epc() == nullptr) return enclaves_stay("it has no EPC");
  if (machine.package.root_mover() == nullptr) return enclaves_stay("these processors cannot move them");
  return {};
}

Loaded write_epc_page(arch::Gpa page, const SealedSpan& image, stream::Writer& to) {
  EpcPageState state{.address = page.value};
  put_image(state, image);
  return to.value(stream::Kind::epc_page, state);
}

tl::expected<u32, std::string> write_enclaves(Machine& machine, stream::Writer& to, Sent sent) {
  TRY(can_move_enclaves(machine));
  MovableEpc& epc = *machine.movable_epc();
  const auto moved = epc.evict_all();
  if (!moved) return enclaves_stay(moved.error());
  if (const Loaded written = write_moved(**moved, epc, to, sent); !written)
    return tl::unexpected(and_back(written.error(), epc));
  return (*moved)->root;
}

Loaded export_enclaves(Machine& machine, u32 root, stream::Writer& to, const vmx::MoveSession& session, bool& left) {
  left = false;
  const auto image = machine.package.root_mover()->export_root(machine.movable_epc()->root(), session);
  if (!image) return move_refused(image.error());
  left = true;
  return to.value(stream::Kind::root, RootState{.number = root, .image = *image});
}

Loaded keep_enclaves(Machine& machine) { return bring_back(*machine.movable_epc()); }

Loaded save_enclaves(Machine& machine, stream::Writer& to, const vmx::MoveSession& session, bool& left) {
  left = false;
  const u32 root = TRY(write_enclaves(machine, to));
  const Loaded gone = export_enclaves(machine, root, to, session, left);
  if (gone || left) return gone;
  return tl::unexpected(and_back(gone.error(), *machine.movable_epc()));
}

Loaded take_enclaves_back(Machine& machine, const vmx::MoveToken& token) {
  TRY(can_move_enclaves(machine));
  if (const auto done = machine.package.root_mover()->unlatch(token); !done) return move_refused(done.error());
  return bring_back(*machine.movable_epc());
}

Loaded give_enclaves_up(Machine& machine, const vmx::PlatformSecrets& secrets) {
  TRY(can_move_enclaves(machine));
  machine.movable_epc()->give_up();
  if (const auto stuck = clean_epc(machine.package, machine.frames()); !stuck.empty())
    return enclaves_stay(fmt::format("{} EPC pages cannot be removed", stuck.size()));
  if (const auto done = machine.package.root_mover()->start_over(secrets); !done) return move_refused(done.error());
  return {};
}

bool ArrivingEnclaves::has(stream::Kind kind) {
  return kind == stream::Kind::epc_map || kind == stream::Kind::epc_page || kind == stream::Kind::va_page ||
         kind == stream::Kind::root;
}

Loaded ArrivingEnclaves::add(const stream::Record& record) {
  const auto wrong = [&](std::string_view what) { return tl::unexpected(stream::Reader::wrong(record, what)); };
  constexpr std::string_view no_body = "its body is not what its kind has", too_many = "more pages than EPC has";
  if (complete()) return wrong("expected nothing behind the root");
  switch (record.kind) {
    case stream::Kind::epc_map: {
      const auto map = stream::decode<EpcMapState>(record.body);
      if (!map) return wrong(no_body);
      if (moved_.pages.size() + moved_.lost.size() + map->pages.size() + map->lost.size() > pages_)
        return wrong(too_many);
      moved_.pages.insert(moved_.pages.end(), map->pages.begin(), map->pages.end());
      moved_.lost.insert(moved_.lost.end(), map->lost.begin(), map->lost.end());
      return {};
    }
    case stream::Kind::epc_page: {
      const auto page = stream::decode<EpcPageState>(record.body);
      if (!page) return wrong(no_body);
      if (images_.size() >= pages_ && !images_.contains(page->address)) return wrong(too_many);
      images_[page->address] = page_of(*page);
      return {};
    }
    case stream::Kind::va_page: {
      const auto array = stream::decode<VaPageState>(record.body);
      if (!array) return wrong(no_body);
      if (moved_.arrays.size() >= pages_) return wrong(too_many);
      moved_.arrays.push_back({.number = array->number, .slot = array->slot, .image = page_of(*array)});
      return {};
    }
    default: {
      auto root = stream::decode<RootState>(record.body);
      if (!root) return wrong(no_body);
      moved_.root = root->number;
      root_ = *root;
      return {};
    }
  }
}

Loaded ArrivingEnclaves::import(Machine& machine, const vmx::MoveSession& session) && {
  TRY(can_move_enclaves(machine));
  if (!complete()) return enclaves_stay("their root has not come");
  MovableEpc& epc = *machine.movable_epc();
  // What left early, and is no page of an enclave any more.
  std::unordered_set<u64> out;
  for (const MovedPage& page : moved_.pages) out.insert(page.address);
  std::erase_if(images_, [&](const auto& image) { return !out.contains(image.first); });
  const auto frame = epc.expect(std::move(moved_), std::move(images_));
  if (!frame) return enclaves_stay(frame.error());
  const auto done = machine.package.root_mover()->import_root(*frame, root_->image, session);
  if (!done) return move_refused(done.error());
  if (const Loaded loaded = epc.load_arrays(); !loaded) return enclaves_stay(loaded.error());
  return {};
}

Loaded commit_enclaves(Machine& machine, const vmx::MoveToken& token) {
  TRY(can_move_enclaves(machine));
  if (const auto done = machine.package.root_mover()->commit_import(token); !done) return move_refused(done.error());
  if (const Loaded gone_on = machine.movable_epc()->go_on(); !gone_on) return enclaves_stay(gone_on.error());
  return {};
}

}  // namespace cloister::hypervisor
