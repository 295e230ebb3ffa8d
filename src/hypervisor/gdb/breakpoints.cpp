// A breakpoint belongs to the physical byte that its address meant when it was put in.
#include "hypervisor/gdb/breakpoints.hpp"

#include "hypervisor/linear.hpp"

namespace cloister::hypervisor::gdb {
namespace {

constexpr u8 int3 = 0xcc;

std::span<const std::byte> bytes_of(const u8& byte) { return std::as_bytes(std::span(&byte, 1)); }

}  // namespace

bool Breakpoints::put(u64 address, Point& point, const PagingState& paging) {
  const auto physical = debug_translate(memory_, paging, arch::Gva{address});
  if (!physical || !memory_.read(*physical, std::as_writable_bytes(std::span(&point.original, 1))) ||
      !memory_.write(*physical, bytes_of(int3)))
    return false;
  point.physical = *physical;
  return true;
}

void Breakpoints::insert(u64 address, const PagingState& paging) {
  if (points_.contains(address)) return;
  if (!put(address, points_[address], paging)) ++waiting_;
}

bool Breakpoints::remove(u64 address) {
  const auto found = points_.find(address);
  if (found == points_.end()) return false;
  const Point& point = found->second;
  if (point.physical) {
    memory_.write(*point.physical, bytes_of(point.original));
  } else {
    --waiting_;
  }
  points_.erase(found);
  return true;
}

void Breakpoints::remove_all() {
  while (!points_.empty()) remove(points_.begin()->first);
}

void Breakpoints::settle(const PagingState& paging) {
  for (auto& [address, point] : points_)
    if (!point.physical && put(address, point, paging)) --waiting_;
}

void Breakpoints::hide(u64 from, std::span<u8> bytes) const {
  for (auto point = points_.lower_bound(from); point != points_.end() && point->first - from < bytes.size(); ++point)
    if (point->second.physical) bytes[point->first - from] = point->second.original;
}

void Breakpoints::rewritten(u64 to, std::span<const u8> bytes) {
  for (auto point = points_.lower_bound(to); point != points_.end() && point->first - to < bytes.size(); ++point) {
    if (!point->second.physical) continue;
    point->second.original = bytes[point->first - to];
    memory_.write(*point->second.physical, bytes_of(int3));
  }
}

}  // namespace cloister::hypervisor::gdb
