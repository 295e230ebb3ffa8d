#include "platform/virtio/block.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "arch/try.hpp"

namespace cloister::platform::virtio {
namespace {

constexpr Device::Kind kind{.number = 2, .class_code = 0x01'8000};  // mass storage, of another kind than PCI knows

// 5.2.3.
constexpr u64 feature_size_max = 1u << 1, feature_seg_max = 1u << 2, feature_read_only = 1u << 5,
              feature_block_size = 1u << 6, feature_flush = 1u << 9, feature_queues = 1u << 12,
              feature_discard = 1u << 13, feature_write_zeroes = 1u << 14;

// 5.2.6.
enum Type : u32 { type_in = 0, type_out = 1, type_flush = 4, type_identify = 8, type_discard = 11, type_zeroes = 13 };
struct Header {
  u32 type = 0, reserved = 0;
  u64 sector = 0;
};
struct Range {
  u64 sector = 0;
  u32 sectors = 0, flags = 0;
};
static_assert(sizeof(Header) == 16 && sizeof(Range) == 16);
constexpr u32 range_unmap = 1;

/// What a request may be, so that none holds the processor that asks for long: a chain of the largest is 32 MiB.
constexpr u32 most_parts = Queue::most_descriptors - 2, most_part_bytes = 256 << 10;
constexpr u64 most_bytes = u64{most_parts} * most_part_bytes;
constexpr u32 most_ranges = 32, most_range_sectors = 1 << 22;
constexpr unsigned requests_at_once = 8;
constexpr std::size_t piece_bytes = 64 << 10;

}  // namespace

Block::Block(BlockConfig config, Surroundings surroundings)
    : Device(kind, config.queues, std::move(surroundings)),
      config_(std::move(config)),
      sectors_(config_.storage->bytes() / sector_bytes),
      counts_(config_.counts == nullptr ? own_counts_ : *config_.counts) {
  const auto put = [this](std::size_t at, auto value) { std::memcpy(&layout_[at], &value, sizeof value); };
  put(0, sectors_);
  put(8, most_part_bytes);
  put(12, most_parts);
  put(20, config_.storage->block_bytes());
  put(34, static_cast<u16>(config_.queues));
  put(36, most_range_sectors);
  put(40, most_ranges);
  put(44, config_.storage->block_bytes() / static_cast<u32>(sector_bytes));  // alignment of discards, in sectors
  put(48, most_range_sectors);
  put(52, most_ranges);
  put(56, u8{1});  // zeros may unmap
}

tl::expected<void, std::string> Block::set_state(const State& state) {
  const auto differs = [this](const std::string& what) { return tl::unexpected("disk " + config_.id + ": " + what); };
  if (state.sectors != sectors_)
    return differs(fmt::format("found {} bytes, expected {}", sectors_ * sector_bytes, state.sectors * sector_bytes));
  if (state.read_only != config_.read_only)
    return differs(state.read_only ? "found one that can be written, expected one that cannot"
                                   : "found one that cannot be written, expected one that can");
  if (!Device::set_state(state.device)) return differs("it can be in no such state");
  return {};
}

u64 Block::own_features() const {
  const u64 many = config_.queues > 1 ? feature_queues : 0;
  const u64 changes = config_.read_only ? feature_read_only : feature_discard | feature_write_zeroes;
  return feature_size_max | feature_seg_max | feature_block_size | feature_flush | many | changes;
}

Checked<bool> Block::serve(unsigned, Queue& queue) {
  for (unsigned done = 0; done < requests_at_once; ++done) {
    const auto chain = TRY(queue.pop());
    if (!chain) {
      if (!TRY(queue.listen())) return false;
      continue;
    }
    const bool cached = negotiated(feature_flush);
    Checked<u32> written = 0;
    if (!apart([&] { written = perform(*chain, cached); })) return false;
    const u32 bytes = TRY(written);
    TRY(queue.push(*chain, bytes));
  }
  return true;
}

// How parts are cut is the driver's affair (2.7.4): the header is the first 16 bytes that are read, and the status the
// last that is written.
Checked<u32> Block::perform(const Chain& chain, bool cached) {
  if (chain.writable_bytes == 0) return tl::unexpected(Broken{"a disk's request without a place for its status"});
  Header header;
  TRY(chain.read(dma(), 0, std::as_writable_bytes(std::span(&header, 1))));
  const u64 in = chain.writable_bytes - 1, out = chain.readable_bytes - sizeof header;
  const auto begin = std::chrono::steady_clock::now();
  Answer answer = Answer::unsupported;
  u64 written = 0;
  switch (header.type) {
    case type_in:
      answer = TRY(read(chain, header.sector, in));
      written = answer == Answer::ok ? in : 0;
      break;
    case type_out: answer = TRY(write(chain, header.sector, out, cached)); break;
    case type_flush: answer = flush(); break;
    case type_identify:
      answer = TRY(identify(chain, in));
      written = answer == Answer::ok ? in : 0;
      break;
    case type_discard:
    case type_zeroes: answer = TRY(clear(chain, header.type, cached)); break;
    default: break;
  }
  count(header.type, in, out, answer,
        static_cast<u64>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count()));
  TRY(chain.write(dma(), in, std::as_bytes(std::span(&answer, 1))));
  return static_cast<u32>(written + 1);
}

/// What nobody knows, and who it is, is no request for what is on it.
void Block::count(u32 type, u64 read, u64 written, Answer answer, u64 nanoseconds) {
  using Request = BlockCounts::Request;
  Request asked = Request::kinds;
  switch (type) {
    case type_in: asked = Request::read; break;
    case type_out: asked = Request::write; break;
    case type_flush: asked = Request::flush; break;
    case type_discard:
    case type_zeroes: asked = Request::clear; break;
    default: return;
  }
  ++counts_.requests[asked];
  counts_.nanoseconds += nanoseconds;
  const auto bound = std::ranges::lower_bound(BlockCounts::bounds_us, (nanoseconds + 999) / 1000);
  ++counts_.latency[static_cast<std::size_t>(bound - BlockCounts::bounds_us.begin())];
  if (answer != Answer::ok) {
    ++counts_.errors;
  } else if (asked == Request::read) {
    counts_.read_bytes += read;
  } else if (asked == Request::write) {
    counts_.written_bytes += written;
  }
}

bool Block::is_within(u64 sector, u64 bytes) const {
  return bytes % sector_bytes == 0 && sector <= sectors_ && bytes / sector_bytes <= sectors_ - sector;
}

Checked<Block::Answer> Block::read(const Chain& chain, u64 sector, u64 bytes) {
  if (!is_within(sector, bytes) || bytes > most_bytes) return Answer::io_error;
  std::vector<std::byte> piece(std::min<u64>(bytes, piece_bytes));
  for (u64 done = 0; done < bytes; done += piece.size()) {
    const auto some = std::span(piece).first(std::min<u64>(piece.size(), bytes - done));
    if (!config_.storage->read(sector * sector_bytes + done, some)) return Answer::io_error;
    TRY(chain.write(dma(), done, some));
  }
  return Answer::ok;
}

Checked<Block::Answer> Block::write(const Chain& chain, u64 sector, u64 bytes, bool cached) {
  if (config_.read_only || !is_within(sector, bytes) || bytes > most_bytes) return Answer::io_error;
  std::vector<std::byte> piece(std::min<u64>(bytes, piece_bytes));
  for (u64 done = 0; done < bytes; done += piece.size()) {
    const auto some = std::span(piece).first(std::min<u64>(piece.size(), bytes - done));
    TRY(chain.read(dma(), sizeof(Header) + done, some));
    if (!config_.storage->write(sector * sector_bytes + done, some)) return Answer::io_error;
  }
  // 5.2.6.2: a driver that knows no flush is told that a write is done when it is safe.
  return cached ? Answer::ok : flush();
}

Block::Answer Block::flush() { return config_.read_only || config_.storage->flush() ? Answer::ok : Answer::io_error; }

Checked<Block::Answer> Block::clear(const Chain& chain, u32 type, bool cached) {
  const u64 bytes = chain.readable_bytes - sizeof(Header);
  if (config_.read_only || bytes == 0 || bytes % sizeof(Range) != 0 || bytes / sizeof(Range) > most_ranges)
    return Answer::io_error;
  std::array<Range, most_ranges> all;
  const auto ranges = std::span(all).first(bytes / sizeof(Range));
  TRY(chain.read(dma(), sizeof(Header), std::as_writable_bytes(ranges)));
  const u32 known = type == type_zeroes ? range_unmap : 0;
  if (std::ranges::any_of(ranges, [known](const Range& one) { return (one.flags & ~known) != 0; }))
    return Answer::unsupported;
  for (const Range& one : ranges) {
    const u64 offset = one.sector * sector_bytes, length = u64{one.sectors} * sector_bytes;
    if (!is_within(one.sector, length) || one.sectors > most_range_sectors) return Answer::io_error;
    const bool done = type == type_discard
                          ? config_.storage->discard(offset, length)
                          : config_.storage->write_zeroes(offset, length, (one.flags & range_unmap) != 0);
    if (!done) return Answer::io_error;
  }
  return cached ? Answer::ok : flush();
}

Checked<Block::Answer> Block::identify(const Chain& chain, u64 bytes) {
  std::array<char, 20> id{};
  if (bytes < id.size()) return Answer::io_error;
  config_.id.copy(id.data(), id.size());
  TRY(chain.write(dma(), 0, std::as_bytes(std::span(id))));
  return Answer::ok;
}

}  // namespace cloister::platform::virtio
