// Accesses to memory that lie beside each other: from one register, whose value stays, or moves by constants, with one
// index or none, and so close that they are nearly always in one page. The first of them looks into the TLB for all.
#pragma once

#include <optional>
#include <vector>

#include "silicon/engine/compiler/known.hpp"

namespace cloister::silicon {

/// An operation, in the order of the code.
struct Step {
  const Op* op;
  const Form* form;
  u32 part = 0;  ///< of the trace
  Known known = {};
  u8 live = flag_set::all;  ///< flags that are read after it
};

}  // namespace cloister::silicon

namespace cloister::silicon {

/// An access as it was translated.
struct MemoryAccess {
  u32 op = 0;
  u8 base = reg_zero, index = reg_zero, scale = 0;
  i32 disp = 0;  ///< from the page, if the base is RIP
  u8 bytes = 0;
  bool write = false;
  bool plain = false;  ///< no segment
};

struct AccessGroup {
  u32 first = 0, last = 0;  ///< operations
  i32 disp = 0;             ///< of its lowest byte, from the register as it is at the first
  u32 bytes = 0;
  bool writes = false;
  u8 slot = 0;  ///< of the groups that overlap, each has another one
};

class AccessGroups {
 public:
  static constexpr unsigned slots = 8;

  AccessGroups() = default;
  AccessGroups(const std::vector<Step>& steps, const std::vector<MemoryAccess>& accesses);

  bool empty() const { return groups_.empty(); }
  /// Of an access, by its number; null: it is alone.
  const AccessGroup* of(std::size_t access) const {
    return access < member_.size() && member_[access] ? &groups_[*member_[access]] : nullptr;
  }
  bool is_first(std::size_t access) const { return first_[access]; }
  const std::vector<AccessGroup>& all() const { return groups_; }

 private:
  std::vector<AccessGroup> groups_;
  std::vector<std::optional<u32>> member_;
  std::vector<bool> first_;
};

}  // namespace cloister::silicon
