// Accesses are split at page boundaries; each part goes to RAM, or to the bus if there is none. All parts are
// translated, each once, before the first is accessed: what another processor does to the tables meanwhile comes too
// late.
#include "hypervisor/linear.hpp"

#include <algorithm>

#include "arch/try.hpp"

namespace cloister::hypervisor {
namespace {

using arch::Gpa;
using arch::Gva;

/// Bytes of [address, address + bytes) that lie in the first page.
std::size_t first_part(Gva address, std::size_t bytes) {
  return std::min<std::size_t>(bytes, arch::page_size - arch::page_offset(address.value));
}

bool canonical(u64 address) { return static_cast<u64>(static_cast<i64>(address << 16) >> 16) == address; }

}  // namespace

tl::expected<Gpa, Fault> LinearMemory::translate(Gva linear, bool write, bool quiet) {
  if ((paging_.efer & arch::efer::lma) != 0 && !canonical(linear.value))
    return tl::unexpected(Fault{arch::vector::gp, 0, 0});
  const auto physical = walk(tables_, paging_, linear, {.write = write, .user = user_, .quiet = quiet});
  if (!physical) return tl::unexpected(Fault{arch::vector::pf, physical.error().error, linear.value});
  return *physical;
}

tl::expected<LinearMemory::Parts, Fault> LinearMemory::parts(Gva linear, unsigned bytes, bool write) {
  Parts parts;
  for (unsigned done = 0; done < bytes;) {
    const auto physical = TRY(translate(linear + done, write));
    const auto n = static_cast<unsigned>(first_part(linear + done, bytes - done));
    parts.part[parts.count++] = {physical, done, n};
    done += n;
  }
  return parts;
}

tl::expected<u64, Fault> LinearMemory::load(Gva from, unsigned bytes) {
  const auto where = TRY(parts(from, bytes, false));
  u64 value = 0;
  for (const Part& p : where.all()) {
    u64 piece = 0;
    if (!memory_.read(p.physical, std::as_writable_bytes(std::span(&piece, 1)).first(p.bytes)))
      piece = bus_.read(p.physical, p.bytes);
    value |= piece << (8 * p.offset);
  }
  return value;
}

tl::expected<void, Fault> LinearMemory::probe_store(Gva to, unsigned bytes) {
  return parts(to, bytes, true).map([](const Parts&) {});
}

tl::expected<void, Fault> LinearMemory::store(Gva to, u64 value, unsigned bytes) {
  const auto where = TRY(parts(to, bytes, true));
  for (const Part& p : where.all()) {
    const u64 piece = value >> (8 * p.offset);
    if (!memory_.write(p.physical, std::as_bytes(std::span(&piece, 1)).first(p.bytes)))
      bus_.write(p.physical, piece, p.bytes);
  }
  return {};
}

std::size_t LinearMemory::fetch(Gva from, std::span<u8> to) {
  std::size_t done = 0;
  while (done < to.size()) {
    const std::size_t part = first_part(from + done, to.size() - done);
    const auto physical = walk(tables_, paging_, from + done, {.fetch = true, .user = user_});
    if (!physical || !memory_.read(*physical, std::as_writable_bytes(to.subspan(done, part)))) break;
    done += part;
  }
  return done;
}

std::optional<Gpa> debug_translate(vmx::GuestMemory& memory, const PagingState& paging, Gva linear) {
  const bool long_mode = (paging.efer & arch::efer::lma) != 0;
  if (long_mode ? !canonical(linear.value) : (linear.value >> 32) != 0) return std::nullopt;
  GuestTables tables(memory);
  const auto physical = walk(tables, paging, linear, {.probe = true});
  return physical ? std::optional(*physical) : std::nullopt;
}

std::size_t debug_read(vmx::GuestMemory& memory, const PagingState& paging, Gva from, std::span<u8> to) {
  std::size_t done = 0;
  while (done < to.size()) {
    const std::size_t part = first_part(from + done, to.size() - done);
    const auto physical = debug_translate(memory, paging, from + done);
    if (!physical || !memory.read(*physical, std::as_writable_bytes(to.subspan(done, part)))) break;
    done += part;
  }
  return done;
}

std::size_t debug_write(vmx::GuestMemory& memory, const PagingState& paging, Gva to, std::span<const u8> from) {
  std::size_t done = 0;
  while (done < from.size()) {
    const std::size_t part = first_part(to + done, from.size() - done);
    const auto physical = debug_translate(memory, paging, to + done);
    if (!physical || !memory.write(*physical, std::as_bytes(from.subspan(done, part)))) break;
    done += part;
  }
  return done;
}

}  // namespace cloister::hypervisor
