// The block as a whole: what is known and alive, the head, the operations in order, and what lies out of line.
#include "silicon/engine/compiler/translator.hpp"

#include <algorithm>

namespace cloister::silicon {

namespace {
/// No flags of a shift are alive, or those that are, are what the host's instruction leaves or save_after_shift()
/// makes.
bool shift_has_code(const Op& op, const Form& form, u8 live) {
  if (live == 0) return true;
  if (form.operands != Operands::reg_imm || form.bytes < 4) return false;
  return (op.imm & (form.bytes == 8 ? 63 : 31)) != 0;
}
}  // namespace

Translator::Translator(Trace trace, const Setting& setting)
    : trace_(std::move(trace)),
      layout_(setting.layout),
      stubs_(setting.stubs),
      blind_(setting.blind),
      e_(setting.origin),
      head_(e_.label()),
      body_(e_.label()),
      branch_(e_.label()),
      over_(e_.label()),
      stale_(e_.label()),
      groups_(setting.groups) {
  for (u32 part = 0; part < trace_.size(); ++part) {
    const Block& b = *trace_[part].block;
    for (u32 i = 0; i < b.count; ++i) steps_.push_back({&b.ops[i], &b.forms[i], part});
    handlers_.push_back(e_.label());
  }
  analyse(setting.sse_unmasked);
  head();
  body();
  out_of_line();
}

void Translator::analyse(bool sse_unmasked) {
  u8 live = flag_set::all;
  for (std::size_t i = steps_.size(); i-- > 0;) {
    Step& s = steps_[i];
    Known& k = s.known = known(*s.op, *s.form);
    // Where a branch leaves the trace, all of them.
    s.live = live = k.kind == Kind::jump_if ? flag_set::all : live;
    if (k.kind == Kind::shift && !shift_has_code(*s.op, *s.form, live)) k = {};
    if (sse_unmasked && (k.traits & trait::computes) != 0) k = {};
    if (k.kind == Kind::handler && s.part > 0) {
      // Handlers come back to their own block's code: the trace ends before it.
      steps_.resize(trace_[s.part].first);
      trace_.resize(s.part);
      return analyse(sse_unmasked);
    }
    // A fault shows all of them.
    const bool may_leave = k.kind == Kind::handler || may_miss(k, *s.form);
    live = may_leave ? flag_set::all : static_cast<u8>((live & ~k.writes) | k.reads);
  }
}

/// Where other blocks come in: as enter_block() (state/dispatch.hpp), and the block must not be stale.
void Translator::head() {
  using namespace host;
  e_.bind(head_);
  const Block& first = *trace_[0].block;
  e_.mov_imm(scratch, reinterpret_cast<u64>(first.generation_now));
  e_.op(0x81, 7, Address{.base = scratch}, {4}, static_cast<i32>(first.generation), 4);
  e_.jcc(5, stale_);
  change_budget(5, static_cast<u32>(steps_.size()));
  e_.jcc(0xc, over_);
  e_.op(0x80, 7, layout_.at(layout_.attention), {1}, 0, 1);
  e_.jcc(5, over_);
  e_.bind(body_);
}

void Translator::body() {
  come_back_at(0, body_, false, Registers::none);
  for (now_ = 0; now_ < steps_.size(); ++now_) {
    if (now_ == 0 || steps_[now_ - 1].known.kind == Kind::handler) check_vectors(now_);
    operation(now_);
  }
  now_ = static_cast<u32>(steps_.size()) - 1;
  const Kind last = steps_.back().known.kind;
  if (last == Kind::jump_if || last == Kind::jump || last == Kind::call || last == Kind::ret) return;
  before_exit();
  exit_to(block().bytes);
}

void Translator::out_of_line() {
  using namespace host;
  spares_second_ = false;
  second_has_.reset();
  apart_out_of_line();
  handlers_out_of_line();
  resumptions_out_of_line();
  vectors_out_of_line();
  e_.bind(over_);
  change_budget(0, static_cast<u32>(steps_.size()));
  e_.bind(stale_);
  to_rip(trace_[0].page_offset);
  e_.jmp(stubs_.leave);
  side_exits_out_of_line();
  for (const ExitTo& exit : exits_) {
    e_.bind(exit.unlinked);
    const u64 slot = sites_.size();
    sites_.push_back({exit.displacement, e_.here()});
    to_rip(exit.offset);
    e_.mov_imm(scratch, slot);
    e_.jmp(branch_);
  }
  if (exits_.empty()) return;
  e_.bind(branch_);
  e_.mov_imm(second_scratch, reinterpret_cast<u64>(&trace_[0].block->code));
  e_.jmp(stubs_.branch);
}

void Translator::handlers_out_of_line() {
  using namespace host;
  for (const Miss& m : misses_) {
    const TracePart& p = trace_[steps_[m.op].part];
    e_.bind(m.label);
    e_.mov_imm(scratch, m.op - p.first);
    e_.jmp(handlers_[steps_[m.op].part]);
  }
  for (u32 part = 0; part < trace_.size(); ++part) {
    e_.bind(handlers_[part]);
    if (rest(part) != 0) give_back(part);
    to_rip(trace_[part].page_offset);
    e_.mov_imm(second_scratch, reinterpret_cast<u64>(&trace_[part].block->code));
    e_.jmp(stubs_.handler);
  }
}

void Translator::resumptions_out_of_line() {
  using namespace host;
  for (const Back& b : backs_) {
    resumptions_.push_back({b.op, e_.here()});
    const Label inner = e_.label();
    const auto loses = [&b](const AccessGroup& g) { return g.first < b.op && g.last >= b.op; };
    const bool direct = !b.host && rest() == 0 && std::ranges::none_of(groups_.all(), loses);
    e_.lea(second_scratch, direct ? b.label : inner);
    e_.jmp(b.vectors == Registers::none  ? stubs_.enter
           : b.vectors == Registers::ymm ? stubs_.enter_upper
                                         : stubs_.enter_vectors);
    if (direct) continue;
    e_.bind(inner);
    if (rest() != 0) {
      // The handler's block is paid, those behind it are not.
      const Label paid = e_.label();
      change_budget(5, rest());
      e_.jcc(0xd, paid);
      e_.mov_imm(scratch, b.op);
      e_.jmp(handlers_[0]);
      e_.bind(paid);
    }
    // The handler may have used what is below the stack pointer.
    for (const AccessGroup& g : groups_.all())
      if (loses(g)) e_.op(0xc7, 0, slot_of(g), Encoder::Sizes{}, 0, 4);
    host_ = false;
    if (b.host) need_host();
    e_.jmp(b.label);
  }
}

void Translator::to_rip(u64 offset) {
  if (offset != 0) e_.op(0x81, 1, layout_.rip_page(), Encoder::Sizes{}, static_cast<i64>(offset), 4);
}

/// Between two operations that are both their handlers' there is no code: the first goes on to the second.
void Translator::come_back_at(u32 i, Label label, bool host, Registers vectors) {
  if (i == end_of(0) || steps_[i].known.kind != Kind::handler) backs_.push_back({i, label, host, vectors});
}

void Translator::call_handler(u32 i) {
  if (i > 0 && steps_[i - 1].known.kind == Kind::handler) return;
  u32 run = 1;
  while (i + run < end_of(0) && steps_[i + run].known.kind == Kind::handler) ++run;
  if (run > 1) e_.op(0x83, 0, layout_.at(layout_.by_handler), Encoder::Sizes{}, run - 1, 1);
  e_.mov_imm(host::scratch, i);
  e_.jmp(handlers_[0]);
  host_ = false;
}

void Translator::operation(u32 i) {
  const Op& op = *steps_[i].op;
  const Form& form = *steps_[i].form;
  const Known& k = steps_[i].known;
  const bool comes_back = k.kind == Kind::handler || may_miss(k, form);
  spares_second_ = spares_second(op, form, k);
  if (!spares_second_) second_has_.reset();
  if (comes_back) before_exit();
  switch (k.kind) {
    case Kind::handler: call_handler(i); break;
    case Kind::nothing: break;
    case Kind::binary: uses_high_byte(op, form) ? high_byte(op, form, k) : binary(op, form, k); break;
    case Kind::test: uses_high_byte(op, form) ? high_byte(op, form, k) : test(op, form, k); break;
    case Kind::move: uses_high_byte(op, form) ? high_byte(op, form, k) : move(op, form, k); break;
    case Kind::unary: unary(op, form, k); break;
    case Kind::shift: shift(op, form, k); break;
    case Kind::multiply: multiply(op, form, k); break;
    case Kind::wide: wide(op, form, k); break;
    case Kind::divide: divide(op, form, k); break;
    case Kind::bit: bit(op, form, k); break;
    case Kind::extend: extend(op, form, k); break;
    case Kind::lea: into(op.dst, form.bytes, false, true, [&](HostReg r) { effective(op, r, form.bytes); }); break;
    case Kind::condition_move:
    case Kind::condition_set: conditional(op, form, k); break;
    case Kind::swap_bytes:
      into(op.dst, form.bytes, true, true, [&](HostReg r) { e_.op_in_opcode(0x0fc8, r, form.bytes); });
      break;
    case Kind::exchange: exchange(op, form); break;
    case Kind::exchange_add: exchange_add(op, form, k); break;
    case Kind::compare_exchange: compare_exchange(op, form, k); break;
    case Kind::push: push(op, form); break;
    case Kind::pop: pop(op); break;
    case Kind::leave_frame: leave_frame(); break;
    case Kind::sign_rax:
      e_.op(form.bytes == 8 ? 0x63 : 0x0fbf, host_of[arch::rax], host_of[arch::rax], {form.bytes});
      break;
    case Kind::sign_rdx:
      e_.mov(host::rax, host_of[arch::rax]);
      form.bytes == 8 ? e_.bytes({0x48, 0x99}) : e_.bytes({0x99});
      break;
    case Kind::count:
    case Kind::field:
    case Kind::lowest: field(op, form, k); break;
    case Kind::scan: scan(op, form, k); break;
    case Kind::move_swapped: move_swapped(op, form); break;
    case Kind::mulx: multiply_apart(op, form, k); break;
    case Kind::jump_if: jump_if(op, k); return;
    case Kind::jump: jump(op, form); return;
    case Kind::call: call(op, form); return;
    case Kind::ret: ret(op); return;
    default: is_vex(k.kind) ? vex(op, form, k) : vector(op, form, k); break;
  }
  if (!comes_back || steps_[i].part > 0) return;
  const Label next = e_.label();
  e_.bind(next);
  come_back_at(i + 1, next, host_ && live() != 0, k.kind != Kind::handler ? vectors_from(i + 1) : Registers::none);
}

}  // namespace cloister::silicon
