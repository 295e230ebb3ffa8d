#include "enclave/layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "arch/try.hpp"
#include "enclave/program.hpp"

namespace cloister::enclave {
namespace {

using Page = std::array<u8, arch::page_size>;
constexpr u64 page = arch::page_size;
constexpr u64 most_bytes = u64{1} << 30;  // of pages, which are all held in memory

constexpr u64 type_flags(arch::PageType type) {
  return u64{static_cast<u8>(type)} << arch::secinfo_flags::page_type_shift;
}
constexpr u64 regular = type_flags(arch::PageType::reg), tcs = type_flags(arch::PageType::tcs);
constexpr u64 data = regular | arch::secinfo_flags::r | arch::secinfo_flags::w;

constexpr u64 page_up(u64 bytes) { return (bytes + arch::page_mask) & ~arch::page_mask; }

/// Where everything is, before any page is made.
struct Places {
  u64 heap, threads, thread_bytes, dynamic, end;
};

Places place(const Program& program, const Settings& settings) {
  const Segment& last = program.segments.back();
  Places places{};
  places.heap = page_up(last.address + last.memory_bytes);
  places.threads = places.heap + page_up(settings.heap);
  places.thread_bytes =
      page_up(settings.stack) + page * (1 + 1 + thread_data_pages + settings.ssa_frames * settings.ssa_frame_pages);
  places.dynamic = places.threads + settings.threads * places.thread_bytes;
  places.end = places.dynamic + page_up(settings.dynamic);
  return places;
}

void add_zeros(Stream& stream, u64 from, u64 bytes) {
  static constexpr Page zeros{};
  for (u64 at = from; at < from + bytes; at += page) add_page(stream, at, data, zeros);
}

void add_segment(Stream& stream, const Segment& segment, const Program& program, const LayoutNote& note) {
  for (u64 at = 0; at < segment.memory_bytes; at += page) {
    Page content{};
    if (at < segment.content.size()) {
      const auto part = segment.content.subspan(at, std::min<u64>(page, segment.content.size() - at));
      std::ranges::copy(part, content.begin());
    }
    const u64 here = segment.address + at;
    if (program.layout_note && (*program.layout_note & ~arch::page_mask) == here) {
      std::memcpy(content.data() + (*program.layout_note & arch::page_mask), &note, sizeof note);
    }
    add_page(stream, here, regular | segment.permissions, content);
  }
}

void add_thread(Stream& stream, u64 start, u64 entry, const Settings& settings) {
  const u64 stack = start + page, control = stack + page_up(settings.stack);  // after the guard page
  const u64 thread_data = control + page, ssa = thread_data + thread_data_pages * page;
  add_zeros(stream, stack, page_up(settings.stack));

  arch::Tcs structure{};
  structure.ossa = ssa;
  structure.nssa = static_cast<u32>(settings.ssa_frames);
  structure.oentry = entry;
  structure.ofsbase = structure.ogsbase = thread_data;
  structure.fslimit = structure.gslimit = 0xffff'ffff;
  if ((settings.attributes.flags & arch::attributes::aexnotify) != 0) structure.flags = arch::tcs_flags::aexnotify;
  Page content{};
  std::memcpy(content.data(), &structure, sizeof structure);
  add_page(stream, control, tcs, content);

  add_zeros(stream, thread_data, page * (thread_data_pages + settings.ssa_frames * settings.ssa_frame_pages));
}

}  // namespace

Result<Stream> lay_out(std::span<const u8> file, const Settings& settings) {
  if (std::string problem = problem_of(settings); !problem.empty()) return tl::unexpected(std::move(problem));
  const auto program = TRY(read_program(file));
  const Places places = place(program, settings);

  if (places.dynamic > most_bytes) {
    return tl::unexpected(fmt::format("pages up to {:#x}: more than {:#x}", places.dynamic, most_bytes));
  }

  Stream stream;
  stream.ssa_frame_pages = static_cast<u32>(settings.ssa_frame_pages);
  stream.size = settings.size != 0 ? settings.size : std::bit_ceil(std::max(places.end, 2 * page));
  if (!std::has_single_bit(stream.size) || stream.size < places.end) {
    return tl::unexpected(fmt::format("size {:#x}: expected a power of two, at least {:#x}", stream.size, places.end));
  }
  const LayoutNote note{.size = stream.size,
                        .heap = places.heap,
                        .heap_bytes = page_up(settings.heap),
                        .dynamic = places.dynamic,
                        .dynamic_bytes = page_up(settings.dynamic),
                        .ssa_frame_bytes = settings.ssa_frame_pages * page};
  if (program.layout_note) {
    const u64 at = *program.layout_note & arch::page_mask;
    if (program.layout_note_bytes != sizeof note || at + sizeof note > page) {
      return tl::unexpected(fmt::format("the section .enclave_layout has not {} bytes in one page", sizeof note));
    }
  }

  stream.records.reserve(places.dynamic / page * (1 + page / chunk_bytes));
  for (const Segment& segment : program.segments) add_segment(stream, segment, program, note);
  add_zeros(stream, places.heap, page_up(settings.heap));
  for (u64 i = 0; i < settings.threads; i++) {
    add_thread(stream, places.threads + i * places.thread_bytes, program.entry, settings);
  }
  return stream;
}

}  // namespace cloister::enclave
