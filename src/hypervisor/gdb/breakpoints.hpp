// Breakpoints by INT3 in guest memory. One whose address does not translate yet (a kernel's virtual address before it
// has page tables) waits, and is put in as soon as it does.
#pragma once

#include <map>
#include <optional>
#include <span>

#include "hypervisor/gva.hpp"

namespace cloister::hypervisor::gdb {

class Breakpoints {
 public:
  explicit Breakpoints(vmx::GuestMemory& memory) : memory_(memory) {}

  void insert(u64 address, const PagingState& paging);
  bool remove(u64 address);
  void remove_all();
  /// Puts in those that wait, where their addresses translate now.
  void settle(const PagingState& paging);

  bool empty() const { return points_.empty(); }
  bool waiting() const { return waiting_ != 0; }
  bool at(u64 address) const { return points_.contains(address); }

  /// What [from, from + bytes) would hold without breakpoints.
  void hide(u64 from, std::span<u8> bytes) const;
  /// After a debugger wrote over [to, to + bytes): puts the breakpoints there back in.
  void rewritten(u64 to, std::span<const u8> bytes);

 private:
  struct Point {
    std::optional<arch::Gpa> physical;  ///< where INT3 is; nullopt: waits
    u8 original = 0;
  };
  bool put(u64 address, Point& point, const PagingState& paging);

  vmx::GuestMemory& memory_;
  std::map<u64, Point> points_;
  std::size_t waiting_ = 0;
};

}  // namespace cloister::hypervisor::gdb
