// The stack, and the ends of blocks: near branches of 64-bit code (isa/integer/branch.cpp).
#include <cstddef>

#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

namespace {
constexpr HostReg stack = host_of[arch::rsp], frame = host_of[arch::rbp];
constexpr i32 slot_bytes = 8;
/// Where a condition's flags are in the image, if one test finds them: AH is the second byte. Indexed by the condition
/// without its lowest bit, which inverts it.
struct InImage {
  u8 byte, mask;
};
constexpr std::array<InImage, 8> in_image{{{0, 1}, {1, 1}, {1, 0x40}, {1, 0x41}, {1, 0x80}, {1, 4}, {0, 0}, {0, 0}}};
}  // namespace

void Translator::push(const Op& op, const Form& form) {
  // Nobody looks at Cpu::rip while handlers run: it keeps what must outlive a second access.
  if (form.operands == Operands::mem) {
    e_.mov(scratch, access(op, form.memory, 8, false));
    e_.store(layout_.at(layout_.rip), scratch);
  }
  const Address to = access_at(arch::rsp, -slot_bytes, true);
  if (form.operands == Operands::source) {
    e_.store(to, in_register(op.src, scratch));
  } else if (form.operands == Operands::mem) {
    e_.mov(scratch, layout_.at(layout_.rip));
    e_.store(to, scratch);
  } else if (const i64 imm = static_cast<i64>(op.imm); must_blind(imm)) {
    constant(scratch, imm);
    e_.store(to, scratch);
  } else {
    e_.op(0xc7, 0, to, Encoder::Sizes{}, imm, 4);
  }
  e_.lea(stack, {.base = stack, .disp = -slot_bytes});
}

void Translator::pop(const Op& op) {
  const Address from = access_at(arch::rsp, 0, false);
  if (op.dst == arch::rsp) return e_.mov(stack, from);
  into(op.dst, 8, false, true, [&](HostReg r) { e_.mov(r, from); });
  e_.lea(stack, {.base = stack, .disp = slot_bytes});
}

void Translator::leave_frame() {
  const Address from = access_at(arch::rbp, 0, false);
  e_.mov(scratch, from);
  e_.lea(stack, {.base = frame, .disp = slot_bytes});
  e_.mov(frame, scratch);
}

void Translator::exit_to_place(i64 in_page) {
  if (in_page < 0 || in_page >= static_cast<i64>(arch::page_size)) {
    e_.mov(scratch, layout_.rip_page());
    add_constant(scratch, in_page, second_scratch);
    return e_.jmp(stubs_.look_up);
  }
  if (static_cast<u64>(in_page) == trace_[0].page_offset) return e_.jmp(head_);
  const Label unlinked = e_.label();
  exits_.push_back({unlinked, e_.here() + 1, static_cast<u64>(in_page)});
  e_.jmp(unlinked);
}

/// The branch itself is what is linked, if it stays in the page.
void Translator::exit_if(u8 condition, i64 in_page) {
  if (static_cast<u64>(in_page) == trace_[0].page_offset) return e_.jcc(condition, head_);
  const Label there = e_.label();
  constexpr u32 opcode_bytes = 2;
  const bool leaves_page = in_page < 0 || in_page >= static_cast<i64>(arch::page_size);
  if (!leaves_page) exits_.push_back({there, e_.here() + opcode_bytes, static_cast<u64>(in_page)});
  e_.jcc(condition, there);
  if (leaves_page) side_exits_.push_back({there, part(), in_page, false});
}

/// Out of the middle of the trace.
void Translator::side_exit(u8 condition, i64 delta) {
  const Label label = e_.label();
  side_exits_.push_back({label, part(), static_cast<i64>(page_offset()) + delta, !memory_});
  e_.jcc(condition, label);
}

void Translator::side_exits_out_of_line() {
  for (const SideExit& s : side_exits_) {
    e_.bind(s.label);
    if (s.saves) save_flags();
    if (rest(s.part) != 0) give_back(s.part);
    exit_to_place(s.to);
  }
}

void Translator::jump_if(const Op& op, const Known& k) {
  const i64 behind = op.offset + op.length, there = static_cast<i64>(op.imm);
  const bool inner = goes_on();
  if (!inner) before_exit();
  u8 condition = static_cast<u8>(k.code);
  const InImage where = in_image[k.code >> 1];
  const bool tested = tested_ != 0 && tested_ == now_;
  if (!tested && (host_ || where.mask == 0)) {
    need_host();
  } else if (!tested) {
    e_.op(0xf6, 0, layout_.at(layout_.flags + where.byte), Encoder::all(1), where.mask, 1);
    condition = static_cast<u8>(5 ^ (k.code & 1));
  }
  if (inner) return trace_[part()].taken ? side_exit(condition ^ 1, behind) : side_exit(condition, there);
  exit_if(condition, static_cast<i64>(page_offset()) + there);
  exit_to(behind);
}

void Translator::check_target() {
  e_.mov(second_scratch, scratch);
  e_.op(0xc1, 7, second_scratch, Encoder::Sizes{}, 47, 1);
  e_.op(0xff, 0, second_scratch);
  e_.op(0x83, 7, second_scratch, Encoder::Sizes{}, 1, 1);
  e_.jcc(7, miss());
}

void Translator::jump(const Op& op, const Form& form) {
  if (goes_on()) return;
  before_exit();
  if (form.operands == Operands::target) return exit_to(static_cast<i64>(op.imm));
  if (form.operands == Operands::mem) {
    e_.mov(scratch, access(op, form.memory, 8, false));
  } else {
    e_.mov(scratch, place(op.src));
  }
  check_target();
  e_.jmp(stubs_.look_up);
}

void Translator::push_return(const Op& op) {
  const Address to = access_at(arch::rsp, -slot_bytes, true);
  e_.mov(scratch, layout_.rip_page());
  e_.lea(scratch, {.base = scratch, .disp = static_cast<i32>(page_offset()) + op.offset + op.length});
  e_.store(to, scratch);
  e_.lea(stack, {.base = stack, .disp = -slot_bytes});
  expect_return(op);
}

/// scratch: the return's RIP. In the page of the call, it leads to the same block every time.
void Translator::expect_return(const Op& op) {
  if (block().passing || page_offset() + op.offset + op.length >= arch::page_size) return;
  const auto entry = [this](std::size_t offset) {
    return Address{.base = cpu, .index = second_scratch, .disp = layout_.returns + static_cast<i32>(offset)};
  };
  const Address top = layout_.at(layout_.return_top);
  e_.op(0x80, 0, top, Encoder::all(1), sizeof(Return), 1);
  e_.op(0x0fb6, second_scratch, top, {4, 4, 1});
  e_.op(0x33, scratch, layout_.at(layout_.fetch_key));
  e_.store(entry(offsetof(Return, tag)), scratch);
  e_.mov_imm(scratch, reinterpret_cast<u64>(&block().code));
  e_.store(entry(offsetof(Return, site)), scratch);
}

void Translator::call(const Op& op, const Form& form) {
  if (form.operands == Operands::target) {
    push_return(op);
    return goes_on() ? void() : exit_to(static_cast<i64>(op.imm));
  }
  if (form.operands == Operands::mem) {
    e_.mov(scratch, access(op, form.memory, 8, false));
  } else {
    e_.mov(scratch, place(op.src));
  }
  check_target();
  e_.store(layout_.at(layout_.rip), scratch);
  push_return(op);
  e_.mov(scratch, layout_.at(layout_.rip));
  e_.jmp(stubs_.look_up);
}

void Translator::ret(const Op& op) {
  e_.mov(scratch, access_at(arch::rsp, 0, false));
  check_target();
  e_.lea(stack, {.base = stack, .disp = slot_bytes + static_cast<i32>(op.imm)});
  e_.jmp(stubs_.return_to);
}

}  // namespace cloister::silicon
