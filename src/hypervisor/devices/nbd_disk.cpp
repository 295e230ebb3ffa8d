// One request after the other, as the device does them; large ones in pieces, which the protocol bounds.
#include "hypervisor/devices/nbd_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <libnbd.h>

#include <algorithm>
#include <bit>
#include <chrono>

namespace cloister::hypervisor {

namespace {

using NbdClock = std::chrono::steady_clock;

constexpr std::chrono::seconds nbd_patience{60};
constexpr u64 nbd_sector = 512, most_moved = 16 << 20, most_cleared = 512 << 20;
constexpr u64 most_nbd_block = 4096;  // Linux's driver takes a page at most

std::string nbd_error() {
  const char* const said = ::nbd_get_error();
  return said == nullptr ? "it does not answer" : said;
}

/// In pieces of so many bytes; false as soon as one of them is.
template <class Piece>
bool in_pieces(u64 offset, u64 length, u64 most, Piece piece) {
  for (u64 done = 0; done < length;) {
    const u64 bytes = std::min(length - done, most);
    if (!piece(offset + done, done, bytes)) return false;
    done += bytes;
  }
  return true;
}

bool poll_until(nbd_handle* handle, auto condition) {
  const auto end = NbdClock::now() + nbd_patience;
  while (!condition()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - NbdClock::now()).count();
    if (left <= 0 || ::nbd_poll(handle, static_cast<int>(left)) < 0) return false;
  }
  return true;
}

}  // namespace

void NbdDisk::Close::operator()(nbd_handle* handle) const { ::nbd_close(handle); }

NbdDisk::NbdDisk(Handle handle, Fd server, const Sizes& sizes)
    : handle_(std::move(handle)),
      server_(std::move(server)),
      bytes_(sizes.all),
      block_bytes_(sizes.block),
      most_moved_(sizes.most) {}

/// A server that says nothing of its blocks takes any (the protocol, "Block size constraints").
tl::expected<NbdDisk::Sizes, std::string> NbdDisk::sizes_of(nbd_handle* handle) {
  const i64 all = ::nbd_get_size(handle), least = ::nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM),
            most = ::nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
  const u64 block = least > static_cast<i64>(nbd_sector) ? static_cast<u64>(least) : nbd_sector;
  if (block > most_nbd_block || !std::has_single_bit(block))
    return tl::unexpected(fmt::format("found a server that reads and writes {} bytes at least, expected {} or less",
                                      block, most_nbd_block));
  if (all < static_cast<i64>(block))
    return tl::unexpected(fmt::format("found {} bytes, expected a sector of {} at least", all, block));
  const u64 moved = most > 0 ? std::min(most_moved, static_cast<u64>(most) / block * block) : most_moved;
  if (moved == 0)
    return tl::unexpected(fmt::format("found a server that moves {} bytes at most, expected {} or more", most, block));
  return Sizes{.all = static_cast<u64>(all) / block * block, .block = static_cast<u32>(block), .most = moved};
}

NbdDisk::~NbdDisk() = default;

tl::expected<std::shared_ptr<NbdDisk>, std::string> NbdDisk::create(Fd connection, Fd server, bool read_only) {
  Handle handle(::nbd_create());
  if (handle == nullptr) return tl::unexpected(nbd_error());
  // The handle closes what it is given.
  const int own = ::fcntl(connection.get(), F_DUPFD_CLOEXEC, 0);
  if (own < 0 || ::nbd_aio_connect_socket(handle.get(), own) < 0) return tl::unexpected(nbd_error());
  if (!poll_until(handle.get(), [&] { return ::nbd_aio_is_connecting(handle.get()) == 0; }) ||
      ::nbd_aio_is_ready(handle.get()) != 1)
    return tl::unexpected(nbd_error());
  auto sizes = sizes_of(handle.get());
  if (!sizes) return tl::unexpected(sizes.error());
  if (!read_only && ::nbd_is_read_only(handle.get()) != 0)
    return tl::unexpected(std::string("found what can only be read, expected access=ro"));
  return std::shared_ptr<NbdDisk>(new NbdDisk(std::move(handle), std::move(server), *sizes));
}

bool NbdDisk::offers(int (*what)(nbd_handle*)) const { return what(handle_.get()) == 1; }

bool NbdDisk::is_there() const { return ::nbd_aio_is_ready(handle_.get()) == 1; }

bool NbdDisk::done(i64 cookie) {
  if (cookie < 0) return false;
  int completed = 0;
  const auto is_done = [&] {
    return (completed = ::nbd_aio_command_completed(handle_.get(), static_cast<u64>(cookie))) != 0;
  };
  if (poll_until(handle_.get(), is_done)) return completed == 1;
  // What is late may not come when its buffer is another's.
  handle_.reset(::nbd_create());
  return false;
}

bool NbdDisk::read(u64 offset, std::span<std::byte> to) {
  return in_pieces(offset, to.size(), most_moved_, [&](u64 at, u64 from, u64 bytes) {
    return done(::nbd_aio_pread(handle_.get(), to.data() + from, bytes, at, NBD_NULL_COMPLETION, 0));
  });
}

bool NbdDisk::write(u64 offset, std::span<const std::byte> from) {
  return in_pieces(offset, from.size(), most_moved_, [&](u64 at, u64 first, u64 bytes) {
    return done(::nbd_aio_pwrite(handle_.get(), from.data() + first, bytes, at, NBD_NULL_COMPLETION, 0));
  });
}

bool NbdDisk::flush() {
  if (!offers(::nbd_can_flush)) return is_there();
  return done(::nbd_aio_flush(handle_.get(), NBD_NULL_COMPLETION, 0));
}

// What the server cannot discard may stay.
bool NbdDisk::discard(u64 offset, u64 length) {
  if (!offers(::nbd_can_trim)) return is_there();
  return in_pieces(offset, length, most_cleared, [&](u64 at, u64, u64 bytes) {
    return done(::nbd_aio_trim(handle_.get(), bytes, at, NBD_NULL_COMPLETION, 0));
  });
}

bool NbdDisk::write_zeroes(u64 offset, u64 length, bool unmap) {
  if (!offers(::nbd_can_zero)) return false;
  const u32 flags = unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
  return in_pieces(offset, length, most_cleared, [&](u64 at, u64, u64 bytes) {
    return done(::nbd_aio_zero(handle_.get(), bytes, at, NBD_NULL_COMPLETION, flags));
  });
}

}  // namespace cloister::hypervisor
