// Guest memory: the inline check of the TLB, as Hot in isa/shapes.hpp has it.
#include <cstddef>

#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

namespace {
/// In 64-bit code the base of all other segments is 0 (Cpu::seg_base).
bool has_segment(const Op& op, Mem kind) {
  return kind == Mem::full && (op.seg == arch::seg_fs || op.seg == arch::seg_gs);
}
}  // namespace

void Translator::effective(const Op& op, HostReg to, u8 bytes) {
  Address a;
  const i32 disp = displacement(op);
  if (op.base != reg_zero) a.base = in_register(op.base, scratch);
  if (op.index != reg_zero) {
    a.index = in_register(op.index, second_scratch);
    a.scale = op.scale;
  }
  if (a.base == no_register && a.index == no_register) {
    constant(to, bytes == 4 ? i64{static_cast<u32>(disp)} : i64{disp});
    return;
  }
  if (!must_blind(disp)) {
    a.disp = disp;
    return e_.lea(to, a, bytes);
  }
  e_.lea(scratch, a);
  constant(second_scratch, disp);
  e_.lea(to, {.base = scratch, .index = second_scratch}, bytes);
}

Label Translator::miss() {
  if (misses_.empty() || misses_.back().op != now_) misses_.push_back({now_, e_.label()});
  return misses_.back().label;
}

/// second_scratch: the addend of the page that all the bytes are in.
void Translator::look_into_tlb(const Op& op, Mem kind, u32 bytes, bool write, u8 alignment, Label fail) {
  linear(op, kind);
  if (alignment > 1) check_alignment(alignment);
  const auto entry = [this](std::size_t offset) {
    return Address{.base = cpu, .index = second_scratch, .disp = layout_.tlb + static_cast<i32>(offset)};
  };
  // The entry's offset: the page's number times its size.
  constexpr unsigned down = arch::page_shift - 5;
  static_assert(sizeof(TlbEntry) == 1 << 5);
  e_.mov(second_scratch, scratch, 4);
  e_.op(0xc1, 5, second_scratch, {4}, down, 1);
  e_.op(0x81, 4, second_scratch, {4}, (tlb_entries - 1) * sizeof(TlbEntry), 4);
  if (bytes > alignment) {
    const bool small = bytes <= 128;
    e_.op(small ? 0x83 : 0x81, 0, scratch, {8}, bytes - 1, small ? 1 : 4);
  }
  e_.bytes({0x48, 0x25});  // and rax, -4096
  e_.bytes({0x00, 0xf0, 0xff, 0xff});
  e_.op(0x0b, scratch, layout_.at(layout_.context));
  e_.op(0x3b, scratch, entry(write ? offsetof(TlbEntry, tag_write) : offsetof(TlbEntry, tag_read)));
  e_.jcc(5, fail);
  e_.mov(second_scratch, entry(offsetof(TlbEntry, addend)));
}

void Translator::linear(const Op& op, Mem kind) {
  effective(op, scratch);
  if (has_segment(op, kind)) e_.op(0x03, scratch, layout_.at(layout_.seg_base + 8 * op.seg));
}

void Translator::check_alignment(u8 alignment) {
  e_.bytes({0xa8, static_cast<u8>(alignment - 1)});  // test al
  e_.jcc(5, miss());
}

/// The first of a group looks for all, and keeps the addend below the stack pointer, where nothing else is; if they are
/// not in one page that may be so accessed, it keeps 0, and each looks for itself.
void Translator::look_for_group(const AccessGroup& group, bool first, const Op& op, Mem kind, u8 bytes, bool write,
                                u8 alignment) {
  const Apart apart{e_.label(), e_.label(), now_, first ? &group : nullptr, op, kind, bytes, write};
  if (alignment > 1) {
    linear(op, kind);
    check_alignment(alignment);
  }
  const Address slot = slot_of(group);
  if (first) {
    Op all = op;
    all.disp = op.disp + (group.disp - displacement(op));  // which is from the page, if the base is RIP
    look_into_tlb(all, kind, group.bytes, group.writes, 1, apart.label);
    e_.store(slot, second_scratch);
  } else {
    e_.mov(second_scratch, slot);
    e_.op(0x85, second_scratch, second_scratch);
    e_.jcc(4, apart.label);
  }
  e_.bind(apart.back);
  apart_.push_back(apart);
}

void Translator::apart_out_of_line() {
  for (const Apart& a : apart_) {
    e_.bind(a.label);
    now_ = a.now;
    if (a.group != nullptr) e_.op(0xc7, 0, slot_of(*a.group), Encoder::Sizes{}, 0, 4);
    look_into_tlb(a.op, a.kind, a.bytes, a.write, 1, miss());
    e_.jmp(a.back);
  }
}

Address Translator::access(const Op& op, Mem kind, u8 bytes, bool write, u8 alignment, Scratch first) {
  const std::size_t number = accesses_.size();
  accesses_.push_back({now_, op.base, op.index, op.scale, displacement(op), bytes, write, !has_segment(op, kind)});
  if (const AccessGroup* const group = groups_.of(number)) {
    look_for_group(*group, groups_.is_first(number), op, kind, bytes, write, alignment);
  } else {
    look_into_tlb(op, kind, bytes, write, alignment, miss());
  }
  host_ = false;

  if (has_segment(op, kind)) e_.op(0x03, second_scratch, layout_.at(layout_.seg_base + 8 * op.seg));
  return in_page(op, first);
}

/// In the first scratch register: base, and index by its scale.
void Translator::sum_of_registers(const Op& op) {
  const Place base = place(op.base);
  if (op.index == reg_zero) return e_.mov(scratch, base);
  Address sum{.index = in_register(op.index, scratch), .scale = op.scale};
  if (!base.memory) sum.base = base.reg;
  e_.lea(scratch, sum);
  if (base.memory) e_.op(0x03, scratch, base);
}

Address Translator::in_page(const Op& op, Scratch first) {
  const i32 disp = displacement(op);
  const Place base = place(op.base), index = place(op.index);
  const bool has_base = op.base != reg_zero, has_index = op.index != reg_zero;
  if (first == Scratch::free && !must_blind(disp) && has_base && (has_index || base.memory)) {
    sum_of_registers(op);
    return {.base = second_scratch, .index = scratch, .disp = disp};
  }
  Address a{.base = second_scratch};
  if (has_base && !has_index && !base.memory) {
    a.index = base.reg;
  } else if (has_base) {
    e_.op(0x03, second_scratch, base);
  }
  if (has_index && index.memory) {
    e_.mov(scratch, index);
    e_.lea(second_scratch, {.base = second_scratch, .index = scratch, .scale = op.scale});
  } else if (has_index) {
    a.index = index.reg;
    a.scale = op.scale;
  }
  if (must_blind(disp)) {
    add_constant(second_scratch, disp, scratch);
  } else {
    a.disp = disp;
  }
  return a;
}

Address Translator::access_at(u8 guest, i32 disp, bool write) {
  Op op;
  op.base = guest;
  op.disp = disp;
  return access(op, Mem::flat, 8, write);
}

}  // namespace cloister::silicon
