// The shared code. Callee-saved registers: System V ABI for AMD64, 3.2.
#include "silicon/engine/compiler/stubs.hpp"

#include <array>
#include <cstddef>

namespace cloister::silicon {

namespace {

using namespace host;

constexpr u8 xmm_registers = 16;
constexpr i64 page_mask = -static_cast<i64>(arch::page_size);

constexpr i32 member(std::size_t offset) { return static_cast<i32>(offset); }

struct Writer {
  Encoder& e;
  const Layout& at;

  void spill() {
    for (u8 g = 0; g < 16; ++g)
      if (host_of[g] != no_register) e.store(at.of_gpr(g), host_of[g]);
    const Label done = e.label();
    e.op(0x80, 7, at.at(at.xmm_here), Encoder::all(1), 0, 1);
    e.jcc(5, done);
    const Label no_upper = e.label();
    e.op(0x80, 7, at.at(at.upper_here), Encoder::all(1), 0, 1);
    e.jcc(5, no_upper);
    for (u8 n = 0; n < xmm_registers; ++n) e.vex(0x663a19, n, at.of_upper(n), {.l = true}, 1, 1);  // vextractf128
    e.op(0xc6, 0, at.at(at.upper_here), Encoder::all(1), 1, 1);
    e.bytes({0xc5, 0xf8, 0x77});  // vzeroupper
    e.bind(no_upper);
    for (u8 n = 0; n < xmm_registers; ++n) e.sse(0x0f29, n, at.of_xmm(n));  // movaps
    e.op(0xc6, 0, at.at(at.xmm_here), Encoder::all(1), 1, 1);
    e.bind(done);
  }
  void load_vectors() {
    for (u8 n = 0; n < xmm_registers; ++n) e.sse(0x0f28, n, at.of_xmm(n));
    e.op(0xc6, 0, at.at(at.xmm_here), Encoder::all(1), 0, 1);
  }
  void load_upper() {
    for (u8 n = 0; n < xmm_registers; ++n)
      e.vex(0x663a18, n, at.of_upper(n), {.third = n, .l = true}, 1, 1);  // vinsertf128
    e.op(0xc6, 0, at.at(at.upper_here), Encoder::all(1), 0, 1);
  }
  void load() {
    for (u8 g = 0; g < 16; ++g)
      if (host_of[g] != no_register) e.mov(host_of[g], at.of_gpr(g));
  }
  void cpu_argument() { e.lea(rdi, {.base = cpu, .disp = -cpu_bias}); }
  void jump_outside(const void* target) {
    e.mov_imm(rax, reinterpret_cast<u64>(target));
    e.jmp(Place{rax});
  }

  void run() {
    for (const u8 pushed : std::array<u8, 2>{0x55, 0x53}) e.bytes({pushed});                    // rbp, rbx
    for (const u8 pushed : std::array<u8, 4>{0x54, 0x55, 0x56, 0x57}) e.bytes({0x41, pushed});  // r12 to r15
    const Label inner = e.label();
    e.lea(rsp, {.base = rsp, .disp = -8});
    e.lea(rax, inner);
    e.op(0xff, 2, Place{rax}, {4});
    e.lea(rsp, {.base = rsp, .disp = 8});
    for (const u8 popped : std::array<u8, 4>{0x5f, 0x5e, 0x5d, 0x5c}) e.bytes({0x41, popped});
    for (const u8 popped : std::array<u8, 2>{0x5b, 0x5d}) e.bytes({popped});
    e.ret();
    e.bind(inner);
    e.jmp(Place{Address{.base = rsi, .disp = member(offsetof(Op, handler))}});
  }

  void enter(const Outside& outside, bool vectors, bool upper) {
    const Label convert = e.label(), converted = e.label();
    e.lea(cpu, {.base = rdi, .disp = cpu_bias});
    Address second_byte = at.at(at.flags + 1);
    e.op(0xf6, 0, second_byte, Encoder::all(1), static_cast<i64>(LazyFlags::image_mark >> 8), 1);
    e.jcc(4, convert);
    e.bind(converted);
    load();
    if (vectors) load_vectors();
    if (upper) load_upper();
    e.op(0x81, 4, at.rip_page(), Encoder::Sizes{}, page_mask, 4);
    e.jmp(Place{second_scratch});
    e.bind(convert);
    e.lea(rsp, {.base = rsp, .disp = -8});
    e.mov_imm(rax, reinterpret_cast<u64>(outside.make_image));
    e.op(0xff, 2, Place{rax}, {4});
    e.lea(rsp, {.base = rsp, .disp = 8});
    e.jmp(converted);
  }

  void handler() {
    const auto of = [](std::size_t offset) { return Address{.base = second_scratch, .disp = member(offset)}; };
    spill();
    e.op(0xff, 0, at.at(at.by_handler));
    e.mov(rdx, of(offsetof(BlockCode, block)));
    e.store(at.at(at.block), rdx);
    e.mov(rsi, of(offsetof(BlockCode, ops)));
    e.mov(rcx, of(offsetof(BlockCode, handlers)));
    e.mov(rcx, Address{.base = rcx, .index = rax, .scale = 3});
    e.op(0xc1, 4, rax, Encoder::Sizes{4}, 5, 1);
    static_assert(sizeof(Op) == 1 << 5);
    e.lea(rsi, {.base = rsi, .index = rax});
    cpu_argument();
    e.jmp(Place{rcx});
  }

  void branch(const Outside& outside) {
    spill();
    e.mov(rsi, Address{.base = second_scratch, .disp = member(offsetof(BlockCode, block))});
    e.store(at.at(at.block), rsi);
    e.mov(rdx, rax);
    cpu_argument();
    jump_outside(reinterpret_cast<const void*>(outside.branch));
  }

  void vectors(const Outside& outside, bool arithmetic) {
    const Label not_so = e.label();
    e.op(0x80, 7, at.at(at.sse_blocked), Encoder::all(1), 0, 1);
    e.jcc(5, not_so);
    if (arithmetic) {
      e.op(0x80, 7, at.at(at.sse_unmasked), Encoder::all(1), 0, 1);
      e.jcc(5, not_so);
    }
    load_vectors();
    e.ret();
    give_up(outside, not_so);
  }

  void upper(const Outside& outside) {
    const Label not_so = e.label(), loaded = e.label();
    for (const i32 flag : {at.sse_blocked, at.sse_unmasked, at.avx_blocked}) {
      e.op(0x80, 7, at.at(flag), Encoder::all(1), 0, 1);
      e.jcc(5, not_so);
    }
    e.op(0x80, 7, at.at(at.xmm_here), Encoder::all(1), 0, 1);
    e.jcc(4, loaded);
    load_vectors();
    e.bind(loaded);
    load_upper();
    e.ret();
    give_up(outside, not_so);
  }

  void give_up(const Outside& outside, Label not_so) {
    e.bind(not_so);
    e.lea(rsp, {.base = rsp, .disp = 8});
    spill();
    e.mov(rdx, rax);
    e.mov(rsi, Address{.base = second_scratch, .disp = member(offsetof(BlockCode, block))});
    cpu_argument();
    jump_outside(reinterpret_cast<const void*>(outside.give_up));
  }

  void interpret(const Outside& outside) {
    spill();
    e.mov(rsi, rax);
    e.mov(rax, at.at(at.rip));
    e.store(at.rip_page(), rax);
    cpu_argument();
    jump_outside(reinterpret_cast<const void*>(outside.enter));
  }

  void leave_at_rip() {
    spill();
    e.op(0xc6, 0, at.at(at.leave), Encoder::all(1), static_cast<i64>(Leave::jump), 1);
    e.ret();
  }
  void leave() {
    e.mov(rax, at.rip_page());
    e.store(at.at(at.rip), rax);
    leave_at_rip();
  }

  Address return_entry(std::size_t offset) const {
    return {.base = cpu, .index = r15, .disp = at.returns + member(offset)};
  }

  /// The block that the RIP in rax leads to, in rax, by the jump cache, as recent_block() but that the block looks
  /// itself whether it is stale. If it is not there, leaves.
  void find_block() {
    static_assert(jump_cache_per_page == 256 && jump_cache_pages == 256 && sizeof(JumpCacheEntry) == 16);
    const auto entry = [this](std::size_t offset) {
      return Address{.base = cpu, .index = rax, .disp = at.jump_cache + member(offset)};
    };
    const Label found = e.label(), second = e.label();
    go_to_page_of_rax();
    e.mov(r15, rax);
    e.op(0xc1, 5, r15, Encoder::Sizes{8}, arch::page_shift - 8, 1);
    e.op(0x81, 4, r15, {4}, 0xff00, 4);
    e.bytes({0x30, 0xe0});  // xor al, ah
    e.bytes({0x24, 0xfe});  // and al, ~1
    e.op(0x0fb6, rax, rax, {4, 4, 1});
    e.op(0x0b, rax, r15, {4});
    e.op(0xc1, 4, rax, {4}, 4, 1);
    e.mov(r15, at.at(at.rip));
    e.op(0x33, r15, at.at(at.fetch_key));
    e.op(0x3b, r15, entry(offsetof(JumpCacheEntry, tag)));
    e.jcc(4, found);
    e.op(0x3b, r15, entry(sizeof(JumpCacheEntry) + offsetof(JumpCacheEntry, tag)));
    e.jcc(4, second);
    leave_at_rip();
    e.bind(second);
    e.op(0x83, 0, rax, {4}, sizeof(JumpCacheEntry), 1);
    e.bind(found);
    e.mov(rax, entry(offsetof(JumpCacheEntry, block)));
  }
  void go_to_page_of_rax() {
    e.store(at.at(at.rip), rax);
    e.mov(r15, rax);
    e.op(0x81, 4, r15, Encoder::Sizes{}, page_mask, 4);
    e.store(at.rip_page(), r15);
  }
  /// The one in rax.
  void enter_block() {
    e.jmp(Place{Address{.base = rax, .disp = member(offsetof(Block, code) + offsetof(BlockCode, entry))}});
  }
  void look_up() {
    find_block();
    enter_block();
  }

  /// If the last call is the one that returns, its site knows where to. If not, it is forgotten all the same, as
  /// processors do: a thunk may have changed where it returns to, and the calls before it are to return, too.
  void return_to() {
    const Label other = e.label();
    e.op(0x33, rax, at.at(at.fetch_key));
    e.op(0x0fb6, r15, at.at(at.return_top), {4, 4, 1});
    e.op(0x80, 5, at.at(at.return_top), Encoder::all(1), sizeof(Return), 1);
    e.op(0x3b, rax, return_entry(offsetof(Return, tag)));
    e.jcc(5, other);
    e.op(0x33, rax, at.at(at.fetch_key));
    e.store(at.at(at.rip), rax);
    e.bytes({0x48, 0x25, 0x00, 0xf0, 0xff, 0xff});  // and rax, -4096
    e.store(at.rip_page(), rax);
    e.mov(rax, return_entry(offsetof(Return, site)));
    e.mov(rax, Address{.base = rax, .disp = member(offsetof(BlockCode, after_call))});
    enter_block();
    e.bind(other);
    e.op(0x33, rax, at.at(at.fetch_key));
    look_up();
  }
  /// Tells the site.
  void first_return() {
    const Address site{.base = rsp, .disp = -8};
    e.mov(rax, return_entry(offsetof(Return, site)));
    e.store(site, rax);
    e.mov(rax, at.at(at.rip));
    find_block();
    e.mov(r15, site);
    e.store(Address{.base = r15, .disp = member(offsetof(BlockCode, after_call))}, rax);
    enter_block();
  }
};

}  // namespace

Stubs::Stubs(Encoder& code, const Layout& layout, const Outside& outside) {
  Writer w{code, layout};
  const auto here = [&code] {
    const Label l = code.label();
    code.bind(l);
    return code.address_of(l);
  };
  run = reinterpret_cast<void (*)(Cpu&, const Op*)>(reinterpret_cast<u64>(here()));
  w.run();
  enter = here(), w.enter(outside, false, false);
  enter_vectors = here(), w.enter(outside, true, false);
  enter_upper = here(), w.enter(outside, true, true);
  handler = here(), w.handler();
  look_up = here(), w.look_up();
  return_to = here(), w.return_to();
  first_return = here(), w.first_return();
  branch = here(), w.branch(outside);
  leave = here(), w.leave();
  interpret = here(), w.interpret(outside);
  vectors = here(), w.vectors(outside, false);
  arithmetic = here(), w.vectors(outside, true);
  upper = here(), w.upper(outside);
}

}  // namespace cloister::silicon
