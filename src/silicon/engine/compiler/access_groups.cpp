// Which accesses are a group: what operations do to the registers that addresses are made of.
#include "silicon/engine/compiler/access_groups.hpp"

#include <algorithm>
#include <array>

#include "arch/regs.hpp"

namespace cloister::silicon {

namespace {

/// Beyond, the group is likely to reach over into the next page.
constexpr i64 most_bytes = 256;
constexpr u32 every_register = 0xffff;  ///< but not those that stand for none, and for RIP
constexpr u32 bit_of(u8 r) { return u32{1} << r; }

bool into_register(Operands o) {
  using enum Operands;
  for (const Operands one : {reg, reg_reg, reg_imm, reg_cl, reg_mem, reg_reg_imm, reg_mem_imm, reg_xmm})
    if (o == one) return true;
  return false;
}

/// The general registers that get a new value.
u32 written(const Known& k, const Op& op, const Form& form) {
  const u32 dst = into_register(form.operands) ? bit_of(form.bytes == 1 ? op.dst / 8 : op.dst) : 0;
  const u32 src = bit_of(form.bytes == 1 ? op.src / 8 : op.src);
  switch (k.kind) {
    case Kind::nothing:
    case Kind::test:
    case Kind::push:
    case Kind::call:
    case Kind::jump:
    case Kind::jump_if:
    case Kind::vector:
    case Kind::vector_move:
    case Kind::vector_shift:
    case Kind::vector_flags:
    case Kind::vector_in:
    case Kind::vex:
    case Kind::vex_move:
    case Kind::vex_extract:
    case Kind::vex_shift:
    case Kind::vex_flags:
    case Kind::vex_in:
    case Kind::vex_zero: return 0;
    case Kind::binary:
    case Kind::bit: return form.writes ? dst : 0;
    case Kind::move:
    case Kind::unary:
    case Kind::shift:
    case Kind::extend:
    case Kind::multiply:
    case Kind::lea:
    case Kind::condition_move:
    case Kind::condition_set:
    case Kind::swap_bytes:
    case Kind::count:
    case Kind::scan:
    case Kind::field:
    case Kind::lowest:
    case Kind::move_swapped:
    case Kind::pop:
    case Kind::vector_scalar:
    case Kind::vector_out:
    case Kind::vector_to_general:
    case Kind::vex_scalar:
    case Kind::vex_to_general: return dst;
    case Kind::mulx: return dst | bit_of(op.aux);
    case Kind::exchange: return dst | src;
    case Kind::exchange_add: return src;
    case Kind::compare_exchange:
    case Kind::sign_rax: return bit_of(arch::rax);
    case Kind::sign_rdx: return bit_of(arch::rdx);
    case Kind::wide:
    case Kind::divide: return bit_of(arch::rax) | bit_of(arch::rdx);
    default: return every_register;
  }
}

/// A register that moves by a constant.
struct Move {
  u8 reg;
  i64 by;
};
std::optional<Move> moved(const Known& k, const Op& op, const Form& form) {
  constexpr i64 slot = 8;
  switch (k.kind) {
    case Kind::push:
    case Kind::call: return Move{arch::rsp, -slot};
    case Kind::pop: return Move{arch::rsp, slot};
    case Kind::binary:
      if (form.bytes != 8 || form.operands != Operands::reg_imm) return {};
      if (k.code == 0) return Move{op.dst, static_cast<i32>(op.imm)};
      if (k.code == 5) return Move{op.dst, -i64{static_cast<i32>(op.imm)}};
      return {};
    case Kind::lea:
      if (form.bytes != 8 || op.base != op.dst || op.index != reg_zero) return {};
      return Move{op.dst, op.disp};
    default: return {};
  }
}

}  // namespace

AccessGroups::AccessGroups(const std::vector<Step>& steps, const std::vector<MemoryAccess>& accesses)
    : member_(accesses.size()), first_(accesses.size()) {
  struct Open {
    std::vector<u32> members;  ///< accesses
    i64 at_first = 0;          ///< how far the register had moved
    i64 low = 0, high = 0;
  };
  std::vector<Open> open;
  std::array<i64, reg_rip_base + 1> position{};  ///< from where the register was when it last got a new value
  std::array<u32, slots> free_from{};            ///< the operation
  const auto close = [&](const Open& o) {
    const i64 disp = o.low - o.at_first;
    if (o.members.size() > 1 && disp == static_cast<i32>(disp)) {
      AccessGroup g{.first = accesses[o.members.front()].op, .last = accesses[o.members.back()].op};
      const auto slot = std::ranges::find_if(free_from, [&](u32 from) { return from <= g.first; });
      if (slot != free_from.end()) {
        *slot = g.last + 1;
        g.slot = static_cast<u8>(slot - free_from.begin());
        g.disp = static_cast<i32>(disp);
        g.bytes = static_cast<u32>(o.high - o.low);
        for (const u32 m : o.members) {
          g.writes = g.writes || accesses[m].write;
          member_[m] = static_cast<u32>(groups_.size());
        }
        first_[o.members.front()] = true;
        groups_.push_back(g);
      }
    }
  };

  u32 next = 0;
  for (u32 i = 0; i < steps.size(); ++i) {
    for (; next < accesses.size() && accesses[next].op == i; ++next) {
      const MemoryAccess& a = accesses[next];
      if (!a.plain) continue;
      const i64 low = position[a.base] + a.disp, high = low + a.bytes;
      const auto o = std::ranges::find_if(open, [&](const Open& one) {
        const MemoryAccess& first = accesses[one.members.front()];
        return first.base == a.base && first.index == a.index && first.scale == a.scale;
      });
      if (o != open.end() && std::max(o->high, high) - std::min(o->low, low) <= most_bytes) {
        o->members.push_back(next);
        o->low = std::min(o->low, low);
        o->high = std::max(o->high, high);
        continue;
      }
      if (o != open.end()) {
        close(*o);
        open.erase(o);
      }
      open.push_back({.members = {next}, .at_first = position[a.base], .low = low, .high = high});
    }
    const Known& k = steps[i].known;
    const auto move = moved(k, *steps[i].op, *steps[i].form);
    u32 changed = written(k, *steps[i].op, *steps[i].form);
    const u32 moves = move ? bit_of(move->reg) : 0;
    // A handler may be the one of a miss, after which nothing is known any more.
    const bool ends_all = k.kind == Kind::handler;
    // POP of the stack pointer does not move it.
    if (k.kind != Kind::pop) changed &= ~moves;
    std::erase_if(open, [&](const Open& o) {
      const MemoryAccess& first = accesses[o.members.front()];
      const bool ends = ends_all || ((changed & bit_of(first.base)) | ((changed | moves) & bit_of(first.index))) != 0;
      if (ends) close(o);
      return ends;
    });
    if (move) position[move->reg] += move->by;
    for (u8 n = 0; n < 16; ++n)
      if ((changed & bit_of(n)) != 0) position[n] = 0;
  }
  for (const Open& o : open) close(o);
}

}  // namespace cloister::silicon
