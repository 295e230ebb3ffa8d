// The walk itself: one loop for all three modes, which differ in their number of levels and the size of an entry (SDM
// vol. 3A, tables 4-4 to 4-20).
#include "hypervisor/gva.hpp"

namespace cloister::hypervisor {
namespace {

using namespace arch;

/// A paging mode's shape.
struct TableShape {
  unsigned levels, index_bits, entry_bytes;
};
constexpr TableShape shape_32bit{2, 10, 4}, shape_pae{3, 9, 8}, shape_4level{4, 9, 8};

constexpr u64 bits_between(unsigned low, unsigned high) {
  return low >= high ? 0 : ((high == 64 ? 0 : u64{1} << high) - (u64{1} << low));
}

class Walk {
 public:
  Walk(TableMemory& tables, const PagingState& paging, Gva linear, const WalkAccess& access)
      : tables_(tables), paging_(paging), access_(access), linear_(linear.value) {
    const bool long_mode = (paging.efer & efer::lma) != 0;
    if (long_mode) {
      shape_ = shape_4level;
    } else {
      shape_ = (paging.cr4 & cr4::pae) != 0 ? shape_pae : shape_32bit;
      linear_ &= 0xffff'ffff;
    }
  }

  tl::expected<Gpa, WalkFault> run() {
    for (;;) {
      const auto result = once();
      if (!changed_) return result;
    }
  }

 private:
  /// `changed_`: another processor has changed an entry since it was read, and the result is none.
  tl::expected<Gpa, WalkFault> once() {
    changed_ = no_execute_ = false;
    writable_ = user_ = true;
    u64 table = paging_.cr3 & (shape_.levels == 4   ? bits_between(12, 52)
                               : shape_.levels == 3 ? bits_between(5, 32)
                                                    : bits_between(12, 32));
    for (unsigned level = shape_.levels;; --level) {
      const unsigned shift = page_shift + (level - 1) * shape_.index_bits;
      const u64 index = (linear_ >> shift) & ((u64{1} << shape_.index_bits) - 1);
      const Gpa at{table + index * shape_.entry_bytes};
      const auto entry = tables_.read(at, shape_.entry_bytes);
      if (!entry) return tl::unexpected(WalkFault{0, true});
      if ((*entry & pte::p) == 0) return fault(0);
      const bool leaf = is_leaf(level, *entry);
      if ((*entry & reserved(level, leaf, shift)) != 0) return fault(pfec::p | pfec::rsvd);
      if (!is_pdpte(level)) {
        writable_ = writable_ && (*entry & pte::rw) != 0;
        user_ = user_ && (*entry & pte::us) != 0;
        no_execute_ = no_execute_ || (no_execute_enabled() && (*entry & pte::nx) != 0);
      }
      if (leaf) {
        if (!access_.probe && !permitted()) return fault(pfec::p);
        mark(level, at, *entry, access_.write ? pte::a | pte::d : pte::a);
        return Gpa{frame(level, *entry, shift) | (linear_ & bits_between(0, shift))};
      }
      mark(level, at, *entry, pte::a);
      if (changed_) return Gpa{};
      table = *entry & bits_between(12, shape_.entry_bytes == 4 ? 32 : 52);
    }
  }

  bool is_pdpte(unsigned level) const { return shape_.levels == 3 && level == 3; }
  bool no_execute_enabled() const { return shape_.entry_bytes == 8 && (paging_.efer & efer::nxe) != 0; }

  bool is_leaf(unsigned level, u64 entry) const {
    if (level == 1) return true;
    if ((entry & pte::ps) == 0) return false;
    if (shape_.levels == 2) return (paging_.cr4 & cr4::pse) != 0;
    return level == 2 || (level == 3 && shape_.levels == 4);
  }

  u64 reserved(unsigned level, bool leaf, unsigned shift) const {
    if (shape_.entry_bytes == 4) return leaf && level == 2 ? u64{1} << 21 : 0;
    if (is_pdpte(level)) return 0;  // checked when CR3 is loaded
    u64 mask = bits_between(paging_.physical_bits, shape_.levels == 3 ? 63 : 52);
    if (!no_execute_enabled()) mask |= pte::nx;
    if (leaf && level > 1) mask |= bits_between(13, shift);  // bit 12 is PAT
    if (level == 4) mask |= pte::ps;
    return mask;
  }

  u64 frame(unsigned level, u64 entry, unsigned shift) const {
    if (shape_.entry_bytes == 8) return entry & bits_between(shift, 52);
    if (level == 1) return entry & bits_between(12, 32);
    return (entry & bits_between(22, 32)) | ((entry & bits_between(13, 21)) << 19);  // PSE-36
  }

  /// SDM vol. 3A, 4.6.1.
  bool permitted() const {
    if (access_.user && !user_) return false;
    if (access_.fetch) {
      if (no_execute_) return false;
      return access_.user || !user_ || (paging_.cr4 & cr4::smep) == 0;
    }
    if (!access_.user && user_ && (paging_.cr4 & cr4::smap) != 0 && !paging_.ac) return false;
    return !access_.write || writable_ || (!access_.user && (paging_.cr0 & cr0::wp) == 0);
  }

  void mark(unsigned level, Gpa at, u64 entry, u64 bits) {
    if (access_.probe || access_.quiet || is_pdpte(level) || (entry & bits) == bits) return;
    changed_ = !tables_.update(at, entry, entry | bits, shape_.entry_bytes);
  }

  tl::unexpected<WalkFault> fault(u32 error) const {
    if (access_.write) error |= pfec::wr;
    if (access_.user) error |= pfec::us;
    if (access_.fetch && (no_execute_enabled() || (paging_.cr4 & cr4::smep) != 0)) error |= pfec::id;
    return tl::unexpected(WalkFault{error, false});
  }

  TableMemory& tables_;
  const PagingState& paging_;
  const WalkAccess& access_;
  u64 linear_;
  TableShape shape_ = shape_4level;
  bool writable_ = true, user_ = true, no_execute_ = false, changed_ = false;
};

}  // namespace

std::optional<u64> GuestTables::read(Gpa from, unsigned bytes) const {
  u64 value = 0;
  if (!memory_.read(from, std::as_writable_bytes(std::span(&value, 1)).first(bytes))) return std::nullopt;
  return value;
}

bool GuestTables::update(Gpa at, u64 expected, u64 desired, unsigned bytes) {
  return memory_.compare_exchange(at, bytes, expected, desired) == expected;
}

PagingState PagingState::of(const vmx::SystemRegs& system, u64 rflags, unsigned physical_bits) {
  return {system.cr0, system.cr3, system.cr4, system.efer, (rflags & rflags::ac) != 0, physical_bits};
}

tl::expected<Gpa, WalkFault> walk(TableMemory& tables, const PagingState& paging, Gva linear,
                                  const WalkAccess& access) {
  if ((paging.cr0 & cr0::pg) == 0) return Gpa{linear.value & 0xffff'ffff};
  return Walk(tables, paging, linear, access).run();
}

}  // namespace cloister::hypervisor
