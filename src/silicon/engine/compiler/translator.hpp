// From blocks of decoded operations, a trace (trace.hpp), to code of the host.
//
// An operation that is known (known.hpp) becomes the host's own instruction for it, with the operands' places
// exchanged; any other calls its handler, which comes back by Op::handler of the next one. So does a known one that
// misses the TLB: until then it has changed nothing.
//
// The flags. What an instruction of the host leaves in its flags is what the guest's would. They are saved, as an image
// (state/flags.hpp), before something else changes them or can leave the trace, if anything may read them; where a
// branch leaves it, on that way. For each operation the set of flags that are read after it is known, from the end
// backwards.
#pragma once

#include <optional>

#include "silicon/engine/compiler/access_groups.hpp"
#include "silicon/engine/compiler/known.hpp"
#include "silicon/engine/compiler/stubs.hpp"
#include "silicon/engine/compiler/trace.hpp"

namespace cloister::silicon {

class Translator {
 public:
  /// What translation depends on beside the blocks.
  struct Setting {
    const Layout& layout;
    const Stubs& stubs;
    const u8* origin;  ///< where the code will run
    /// No constant of more than 16 bits that the guest chose is in the code, but the sum of two; 0: they are.
    i32 blind = 0;
    bool sse_unmasked = false;  ///< what computes by MXCSR calls its handler
    AccessGroups groups = {};   ///< of the accesses that another translation has found
  };
  /// As much of the trace as operations of later blocks have code for.
  Translator(Trace trace, const Setting& setting);

  /// A jump to a direct branch's target, with the address that it has until it is linked: offsets in the code.
  struct Site {
    u32 displacement = 0, unlinked = 0;
  };
  /// Where an operation of the first block's handler comes back.
  struct Resumption {
    u32 op, offset;
  };

  const std::vector<u8>& code() { return e_.finish(); }
  /// By slot.
  const std::vector<Site>& sites() const { return sites_; }
  const std::vector<Resumption>& resumptions() const { return resumptions_; }
  /// Those of its accesses that may look into the TLB together.
  AccessGroups groups() const { return {steps_, accesses_}; }
  /// Instructions of other blocks than the first.
  u32 rest() const { return rest(0); }

 private:
  void analyse(bool setting_unmasked);
  void head();
  void body();
  void out_of_line();
  void operation(u32 i);
  void call_handler(u32 i);
  /// Vector registers that operations need loaded.
  enum class Registers : u8 { none, xmm, computing_xmm, ymm };
  void come_back_at(u32 i, Label label, bool host, Registers vectors);
  void resumptions_out_of_line();
  void handlers_out_of_line();
  /// The budget gets back what the blocks behind `part` cost, or pays it.
  void give_back(u32 part) { change_budget(0, rest(part)); }
  void change_budget(HostReg digit, u32 by) {
    const bool is_byte = by < 128;
    e_.op(is_byte ? 0x83 : 0x81, digit, layout_.at(layout_.budget), {8}, by, is_byte ? 1 : 4);
  }
  /// For who leaves: the RIP at an offset in the page.
  void to_rip(u64 offset);

  // The XMM registers (vector.cpp).
  /// Operations from i on, up to one that calls its handler, name XMM registers; `computes`: by MXCSR, too.
  Registers vectors_from(u32 i) const;
  /// Before those: the registers are loaded and may be used, or the block is left.
  void check_vectors(u32 i);
  void vectors_out_of_line();
  Place vector_source(const Op& op, const Form& form, const Known& k);
  void vector(const Op& op, const Form& form, const Known& k);
  // VEX-encoded ones (vex.cpp).
  void vex(const Op& op, const Form& form, const Known& k);

  // Flags (flags.cpp).
  /// Something may read or change them behind our back: what is alive is in memory.
  void before_exit();
  void save_flags();
  /// They are in the host's.
  void need_host();
  /// What k reads or leaves alone is in the host's, and afterwards k's are.
  void use_flags(const Known& k);
  bool needs_host(const Known& k) const { return k.reads != 0 || (k.writes != 0 && (live() & ~k.writes) != 0); }
  void set_flags(const Known& k);
  u8 live() const { return steps_[now_].live; }

  // Places (places.cpp).
  static u8 number(u8 r, u8 bytes) { return bytes == 1 ? r / 8 : r; }
  Place place(u8 guest) const;
  /// The same to read from: the second scratch register, if it has the value, too.
  Place value(u8 guest) const { return second_has_ == guest ? Place{host::second_scratch} : place(guest); }
  /// The register's value in a register of the host: `temporary`, if it is not kept in one.
  HostReg in_register(u8 guest, HostReg temporary);
  /// f(register) computes the guest's register; `reads`: from its value. One that is in memory is computed in a scratch
  /// register: in the second, where the operation spares that, so that those behind it find it there.
  template <class F>
  void into(u8 guest, u8 bytes, bool reads, bool writes, F&& f) {
    const HostReg r = host_of[guest];
    if (r != no_register) return f(r);
    const HostReg work = spares_second_ ? host::second_scratch : host::scratch;
    if (second_has_ != guest && (reads || bytes < 4)) {
      if (spares_second_) second_has_.reset();
      e_.mov(work, place(guest));
    }
    f(work);
    if (writes) e_.store(layout_.of_gpr(guest), work);
    if (spares_second_) second_has_ = guest;
  }
  /// Where a result of so many bytes may be computed: in memory, too, if the rest of the register stays as it is.
  bool in_memory(u8 guest, u8 bytes, bool writes = true) const {
    return host_of[guest] == no_register && (bytes != 4 || !writes) && second_has_ != guest;
  }
  /// The operation does not use the second scratch register, but by into().
  bool spares_second(const Op& op, const Form& form, const Known& k) const;
  void put(u8 guest, HostReg from);
  bool must_blind(i64 value) const { return blind_ != 0 && value != static_cast<i16>(value); }
  void constant(HostReg to, i64 value);
  void add_constant(HostReg to, i64 value, HostReg temporary);

  // Memory (access.cpp).
  /// The sum of base, index and displacement, in `to`; both scratch registers may change.
  void effective(const Op& op, HostReg to, u8 bytes = 8);
  /// Whether a place in memory may need the first scratch register, too: then the sum of base and index need not wait
  /// for the TLB's entry.
  enum class Scratch : u8 { taken, free };
  Scratch free_if(bool is_free) const { return is_free ? Scratch::free : Scratch::taken; }
  /// into() does not use it, nor use_flags().
  Scratch free_for(u8 guest, const Known& k) const { return free_if(host_of[guest] != no_register && !needs_host(k)); }
  /// From what stands for the base: RIP's is its page.
  i32 displacement(const Op& op) const {
    return op.base == reg_rip_base ? op.disp + static_cast<i32>(page_offset()) : op.disp;
  }
  /// The place in the host's memory, through the second scratch register; a miss goes to the handler, and so does an
  /// operand that is not aligned.
  Address access(const Op& op, Mem kind, u8 bytes, bool write, u8 alignment = 1, Scratch first = Scratch::taken);
  /// How it is found once the second scratch register has the page's addend.
  Address in_page(const Op& op, Scratch first);
  void sum_of_registers(const Op& op);
  void linear(const Op& op, Mem kind);
  void check_alignment(u8 alignment);
  void look_into_tlb(const Op& op, Mem kind, u32 bytes, bool write, u8 alignment, Label fail);
  void look_for_group(const AccessGroup& group, bool first, const Op& op, Mem kind, u8 bytes, bool write, u8 alignment);
  void apart_out_of_line();
  static Address slot_of(const AccessGroup& group) { return {.base = host::rsp, .disp = -8 * (1 + group.slot)}; }
  /// Where the handler of the present operation is called.
  Label miss();
  /// `disp` from the guest's register.
  Address access_at(u8 guest, i32 disp, bool write);

  // What operations do (integer.cpp, bits.cpp, exchange.cpp, high_byte.cpp, branch.cpp).
  void binary(const Op& op, const Form& form, const Known& k);
  void test(const Op& op, const Form& form, const Known& k);
  void move(const Op& op, const Form& form, const Known& k);
  void unary(const Op& op, const Form& form, const Known& k);
  void shift(const Op& op, const Form& form, const Known& k);
  void save_after_shift(const Form& form, const Known& k, unsigned count, HostReg result);
  void multiply(const Op& op, const Form& form, const Known& k);
  void save_after_multiply(const Form& form, HostReg result);
  void wide(const Op& op, const Form& form, const Known& k);
  void divide(const Op& op, const Form& form, const Known& k);
  void bit(const Op& op, const Form& form, const Known& k);
  void extend(const Op& op, const Form& form, const Known& k);
  // Bits (bits.cpp).
  Place source_of_bits(const Op& op, const Form& form);
  void field(const Op& op, const Form& form, const Known& k);
  void scan(const Op& op, const Form& form, const Known& k);
  void multiply_apart(const Op& op, const Form& form, const Known& k);
  void move_swapped(const Op& op, const Form& form);
  void save_after_bits(const Form& form, const Known& k, HostReg result);
  void conditional(const Op& op, const Form& form, const Known& k);
  void exchange(const Op& op, const Form& form);
  void exchange_add(const Op& op, const Form& form, const Known& k);
  void compare_exchange(const Op& op, const Form& form, const Known& k);
  /// The prefix, if there is one.
  void lock(const Form& form) {
    if (form.locked) e_.bytes({0xf0});
  }
  /// The host's atomics must not cross lines: those that are not aligned are left to the handler.
  static u8 atomic_alignment(const Form& form) { return form.locked ? form.bytes : u8{1}; }
  void high_byte(const Op& op, const Form& form, const Known& k);
  void high_to_scratch(u8 r);
  void push(const Op& op, const Form& form);
  void pop(const Op& op);
  void leave_frame();
  void jump_if(const Op& op, const Known& k);
  void jump(const Op& op, const Form& form);
  void call(const Op& op, const Form& form);
  void ret(const Op& op);
  /// A call's return address goes to the stack, and is remembered.
  void push_return(const Op& op);
  void expect_return(const Op& op);
  /// A branch to `delta` bytes from the block's start.
  void exit_to(i64 delta) { exit_to_place(static_cast<i64>(page_offset()) + delta); }
  void exit_to_place(i64 in_page);
  void exit_if(u8 condition, i64 in_page);
  void side_exit(u8 condition, i64 delta);
  void side_exits_out_of_line();
  /// rax is canonical, or the handler finds out.
  void check_target();

  // Where it is in the trace.
  u32 part() const { return steps_[now_].part; }
  u64 page_offset() const { return trace_[part()].page_offset; }
  const Block& block() const { return *trace_[part()].block; }
  /// The number of the first operation behind a part.
  u32 end_of(u32 part) const {
    return part + 1 < trace_.size() ? trace_[part + 1].first : static_cast<u32>(steps_.size());
  }
  u32 rest(u32 part) const { return static_cast<u32>(steps_.size()) - end_of(part); }
  /// The present operation is a block's last one, and not the trace's.
  bool goes_on() const { return now_ + 1 == end_of(part()) && now_ + 1 < steps_.size(); }

  Trace trace_;
  const Layout& layout_;
  const Stubs& stubs_;
  const i32 blind_;
  Encoder e_;

  u32 now_ = 0;                   ///< the operation
  bool host_ = false;             ///< the host's flags are the guest's
  bool memory_ = true;            ///< those in memory are
  u32 tested_ = 0;                ///< not 0: a branch, at which the host's are the guest's, too, but for CF
  std::optional<u8> second_has_;  ///< the guest's register whose value the second scratch register has, as memory has
  bool spares_second_ = false;    ///< the operation
  std::vector<Step> steps_;
  Label head_, body_, branch_, over_, stale_;
  std::vector<Label> handlers_;  ///< of each part: an operation's handler is called
  struct Miss {
    u32 op;
    Label label;
  };
  std::vector<Miss> misses_;
  struct Back {
    u32 op;             ///< of the first block
    Label label;        ///< in line
    bool host;          ///< where the host's flags are the guest's
    Registers vectors;  ///< which are loaded there
  };
  std::vector<Back> backs_;
  struct Check {
    u32 op;
    Label label, after;
    Registers needs;
  };
  std::vector<Check> checks_;
  const AccessGroups groups_;
  std::vector<MemoryAccess> accesses_;
  /// An access that looks for itself, out of line: of a group that is not in one page, or whose addend a handler lost.
  struct Apart {
    Label label, back;
    u32 now;
    const AccessGroup* group;  ///< if it is its first: the slot is to be cleared
    Op op;
    Mem kind;
    u8 bytes;
    bool write;
  };
  std::vector<Apart> apart_;
  struct SideExit {
    Label label;
    u32 part;
    i64 to;      ///< in the page
    bool saves;  ///< the flags are in the host's alone
  };
  std::vector<SideExit> side_exits_;
  struct ExitTo {
    Label unlinked;
    u32 displacement;  ///< where it is in the code
    u64 offset;        ///< of the target in the page
  };
  std::vector<ExitTo> exits_;
  std::vector<Site> sites_;
  std::vector<Resumption> resumptions_;
};

}  // namespace cloister::silicon
