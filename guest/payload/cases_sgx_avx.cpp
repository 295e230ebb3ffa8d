// Enclaves with AVX in SECS.ATTRIBUTES.XFRM: what ECREATE, EENTER and ERESUME ask (SDM vol. 3D, 38.3 and 38.4), and
// what becomes of the YMM registers at an asynchronous exit and after it (37.3, 37.4; their place in a frame: 35.9 and
// CPUID.0DH.2, SDM vol. 1, 13.4 and 13.5). In a domain with AVX.
#include "resident.hpp"
#include "sgx/tables.hpp"

namespace {

using namespace sgx;
using resident::timer_vector;

constexpr u64 x87_sse = 3, avx_component = 4, with_avx = x87_sse | avx_component;
constexpr u64 header_at = 512;  // XSTATE_BV, XCOMP_BV, 48 reserved bytes
constexpr u64 rounds = 200'000, period = 20'000;
constexpr unsigned registers = 16;

/// Where leaf 0DH says that the component lies.
u64 avx_at() { return cpu::cpuid(0xd, 2).ebx; }

void set_xcr0(u64 components) {
  cpu::set_cr4(cpu::cr4() | CR4_OSXSAVE);
  asm volatile("xsetbv" ::"c"(0), "a"(components), "d"(0));
}

struct alignas(32) Ymm {
  u64 word[4];
};
struct Vectors {
  Ymm ymm[registers];
  u32 mxcsr;
};
Vectors read_vectors() {
  Vectors v;
  asm volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovdqu %%ymm\\n, 32 * \\n(%0)\n .endr\n vstmxcsr (%1)"
               :
               : "r"(v.ymm), "r"(&v.mxcsr)
               : "memory");
  return v;
}
void fill_vectors() {
  static const Ymm rubbish{{0x5a5a'5a5a, 0x5a5a'5a5a, 0x5a5a'5a5a, 0x5a5a'5a5a}};
  asm volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovdqu (%0), %%ymm\\n\n .endr" ::"r"(&rubbish)
               : "memory");
}

/// What the enclave loads: words that all differ.
constexpr u64 word_of(unsigned n, unsigned i) { return u64{n + 1} << 32 | u64{i + 1} << 8 | 1; }

void plan_vectors(u64 xfrm) {
  fresh();
  set_xcr0(with_avx);
  the_plan.secs.attributes.xfrm = xfrm;
  the_plan.tcs.oentry = vectors;
  for (unsigned n = 0; n < registers; n++) {
    for (unsigned i = 0; i < 4; i++) at(address(the_plan.data) + 32 * n + 8 * i) = word_of(n, i);
  }
}

/// Enters at the plan's entry, with interrupts.
void enter_vectors(u64 times) {
  call_inside(static_cast<arch::EncluLeaf>(times), in_enclave(data_page), 0);
  call.adjust = [](Context& c) { c.rflags |= flag::interrupt; };
  execute();
}

/// How many of the words that the enclave stored are what it would have without an exit.
u64 right_words(u64 times, bool upper_lost_on_the_way = false) {
  u64 right = 0;
  for (unsigned n = 0; n < registers; n++) {
    for (unsigned i = 0; i < 4; i++) {
      u64 wanted = word_of(n, i) + (n == 0 ? times * word_of(1, i) : 0);
      if (upper_lost_on_the_way && i >= 2) wanted = 0;
      right += peek(place_of(0, data_page), 512 + 32 * n + 8 * i) == wanted;
    }
  }
  return right;
}
constexpr u64 all_words = registers * 4;

/// What was seen at an exit, in the handler.
struct Exits {
  u64 count, of_initial_registers, of_frames, of_xcr0, xstate_bv, xcomp_bv, mxcsr;
};
Exits exits;

/// The registers outside are initial and those of the enclave in its frame, whose YMM0 has the sum of so many rounds.
void look_at_exit() {
  const Vectors outside = read_vectors();
  u64 any = 0;
  for (const Ymm& ymm : outside.ymm) {
    for (const u64 word : ymm.word) any |= word;
  }
  const unsigned frame = place_of(0, ssa_page);
  const u64 upper = avx_at();
  u64 right = 0;
  for (unsigned n = 1; n < registers; n++) {
    for (unsigned i = 0; i < 2; i++) {
      right += peek(frame, 160 + 16 * n + 8 * i) == word_of(n, i);
      right += peek(frame, upper + 16 * n + 8 * i) == word_of(n, i + 2);
    }
  }
  const u64 done_rounds = (peek(frame, 160) - word_of(0, 0)) / word_of(1, 0);
  right += peek(frame, upper + 8) == word_of(0, 3) + done_rounds * word_of(1, 3);
  u32 low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  exits.count++;
  exits.of_initial_registers += any == 0;
  exits.of_frames += right == (registers - 1) * 4 + 1;
  exits.of_xcr0 += low == with_avx;
  exits.xstate_bv = peek(frame, header_at);
  exits.xcomp_bv = peek(frame, header_at + 8);
  exits.mxcsr = outside.mxcsr;
}

void start_timer() {
  exits = {};
  resident::prepare_timer();
  set_hook(timer_vector, [](Frame& interrupted) {
    resident::write_apic(0xb0, 0);
    // Nothing but the enclave's exits goes on at the AEP; RSI is theirs from the first round on.
    if (interrupted.rip == aep && peek(place_of(0, ssa_page), header_at) != 0) {
      look_at_exit();
      fill_vectors();
    }
    cpu::wrmsr(0x6e0, cpu::rdtsc() + period);
    return true;
  });
  cpu::wrmsr(0x6e0, cpu::rdtsc() + period);
}

/// One that is due comes now.
void stop_timer() {
  cpu::wrmsr(0x6e0, 0);
  set_hook(timer_vector, [](Frame&) {
    resident::write_apic(0xb0, 0);
    return true;
  });
  asm volatile("sti; nop; nop; cli" ::: "memory");
}

Trap create() {
  memcpy(operands.source, &the_plan.secs, sizeof the_plan.secs);
  operands.pageinfo = {
      .linaddr = 0, .srcpge = address(operands.source), .secinfo = address(&operands.secinfo), .secs = 0};
  call_encls(arch::EnclsLeaf::ecreate, address(&operands.pageinfo), epc_at(secs_of(0)));
  execute();
  return ending.trap;
}

}  // namespace

CASE(cpuid) {
  line("leaf_d");
  expect("xcr0", cpu::cpuid(0xd).eax & with_avx, with_avx);
  set_xcr0(with_avx);
  expect("bytes", cpu::cpuid(0xd).ebx, 832);
  line("leaf_d_2");
  const cpu::Cpuid component = cpu::cpuid(0xd, 2);
  expect("bytes", component.eax, 256);
  expect("at", component.ebx, 576);
  expect("ecx", component.ecx, 0);
  line("leaf_12_1");
  expect("xfrm", cpu::cpuid(0x12, 1).ecx & with_avx, with_avx);
  expect("within_xcr0", cpu::cpuid(0x12, 1).ecx & ~cpu::cpuid(0xd).eax, 0);
}

// 38.3, ECREATE: x87 and SSE always, nothing that CPUID.12H.1 does not list, and a frame that holds the components'
// area. What XCR0 has does not matter.
CASE(ecreate) {
  static const struct {
    const char* name;
    u64 xfrm;
    u32 frame_pages;
    bool faults;
  } rows[] = {
      {"avx", with_avx, 1, false},
      {"avx_alone", avx_component, 1, true},
      {"avx_without_sse", avx_component | 1, 1, true},
      {"avx_without_x87", avx_component | 2, 1, true},
      {"avx_and_what_is_not_listed", with_avx | u64{1} << 62, 1, true},
      {"no_frame", with_avx, 0, true},
      {"large_frame", with_avx, 1u << 20, false},
  };
  for (const auto& row : rows) {
    line(row.name);
    fresh();
    the_plan.secs.attributes.xfrm = row.xfrm;
    the_plan.secs.ssa_frame_size = row.frame_pages;
    operands.secinfo = {};
    expect("vector", create().vector, row.faults ? vec::gp : vec::done);
    expect("made", look(secs_of(0)).status != invalid, !row.faults);
  }
}

// 38.4, EENTER and ERESUME: XFRM within XCR0, or without CR4.OSXSAVE no XFRM but 3. Inside, XCR0 is XFRM.
CASE(entry) {
  plan_vectors(with_avx);
  the_plan.tcs.oentry = components;
  launch();
  line("enter_without_avx");
  set_xcr0(x87_sse);
  enter_vectors(1);
  expect("vector", ending.trap.vector, vec::gp);
  expect("state", peek(place_of(0, tcs_page), 0), 0);
  line("enter_without_sse");
  set_xcr0(1);
  enter_vectors(1);
  expect("vector", ending.trap.vector, vec::gp);
  line("enter_without_xsave");
  set_xcr0(with_avx);
  cpu::set_cr4(cpu::cr4() & ~u64{CR4_OSXSAVE});
  enter_vectors(1);
  expect("vector", ending.trap.vector, vec::gp);
  line("enter");
  set_xcr0(with_avx);
  enter_vectors(1);
  expect("vector", ending.trap.vector, vec::done);
  expect("xcr0_inside", ending.rax, with_avx);

  line("legacy_enclave");
  plan_vectors(x87_sse);
  the_plan.tcs.oentry = components;
  launch();
  enter_vectors(1);
  expect("vector", ending.trap.vector, vec::done);
  expect("xcr0_inside", ending.rax, x87_sse);
  u32 low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  expect("xcr0_outside", low, with_avx);
}

CASE(resumption) {
  plan_vectors(with_avx);
  the_plan.tcs.oentry = break_off;
  launch();
  enter_enclave();
  call_enclu(arch::EncluLeaf::eresume, in_enclave(tcs_page), aep);
  line("without_avx");
  set_xcr0(x87_sse);
  execute();
  expect("vector", ending.trap.vector, vec::gp);
  expect("cssa", static_cast<u32>(peek(place_of(0, tcs_page), 24)), 1);
  line("without_xsave");
  set_xcr0(with_avx);
  cpu::set_cr4(cpu::cr4() & ~u64{CR4_OSXSAVE});
  execute();
  expect("vector", ending.trap.vector, vec::gp);
  line("with_avx");
  set_xcr0(with_avx);
  execute();
  expect("vector", ending.trap.vector, vec::ud);  // by the enclave's code, once more
  expect("saved_rip", saved(136), enclave_base + break_off);
}

// 37.3: an enclave without AVX has no YMM registers, and its exit leaves those that are outside.
CASE(legacy_enclave) {
  plan_vectors(x87_sse);
  launch();
  fill_vectors();
  enter_vectors(1);
  expect("vector", ending.trap.vector, vec::ud);
  expect("exitinfo", static_cast<u32>(saved(160)), 0x80000306);
  expect("saved_rip", saved(136), enclave_base + vectors + 3);
  expect("xstate_bv", peek(place_of(0, ssa_page), header_at), x87_sse);
  expect("avx_in_frame", peek(place_of(0, ssa_page), avx_at() + 8), 0);
  expect("upper_half", read_vectors().ymm[5].word[3], 0x5a5a'5a5a);
  expect("lower_half", read_vectors().ymm[5].word[0], 0);
}

// 37.3, 37.4: interrupts in the middle of it, after each of which the handler leaves other values in the registers.
CASE(interrupted) {
  plan_vectors(with_avx);
  launch();
  start_timer();
  enter_vectors(rounds);
  stop_timer();
  line("registers");
  expect("vector", ending.trap.vector, vec::done);
  expect("right_words", right_words(rounds), all_words);
  line("exits");
  expect("several", exits.count >= 5, 1);
  expect("registers_outside_are_initial", exits.of_initial_registers, exits.count);
  expect("registers_are_in_the_frame", exits.of_frames, exits.count);
  expect("xcr0_is_as_before_the_entry", exits.of_xcr0, exits.count);
  line("area");
  expect("xstate_bv", exits.xstate_bv, with_avx);
  expect("xcomp_bv", exits.xcomp_bv, 0);  // the standard form
  expect("mxcsr_outside", exits.mxcsr, 0x1fb0);
}

// The same at a page fault; and a frame whose XSTATE_BV does not have a component stands for its initial state.
CASE(faulted) {
  static bool drops;
  for (const bool drop : {false, true}) {
    plan_vectors(with_avx);
    launch();
    exits = {};
    drops = drop;
    const u64 page = in_enclave(data_page);
    map(page, physical_at(place_of(0, data_page)), pte::p | pte::u);
    set_hook(vec::pf, [](Frame&) {
      look_at_exit();
      fill_vectors();
      if (drops) poke(place_of(0, ssa_page), header_at, x87_sse);
      map_enclave_page(data_page, place_of(0, data_page));
      return true;
    });
    enter_vectors(3);
    line(drop ? "dropped" : "kept");
    expect("vector", ending.trap.vector, vec::done);
    expect("exits", exits.count, 1);
    expect("registers_outside_are_initial", exits.of_initial_registers, 1);
    expect("registers_are_in_the_frame", exits.of_frames, 1);
    expect("right_words", right_words(3, drop), all_words);
  }
}

// 38.4, EEXIT: the registers are what the enclave left in them.
CASE(left) {
  plan_vectors(with_avx);
  launch();
  enter_vectors(1);
  const Vectors outside = read_vectors();
  expect("vector", ending.trap.vector, vec::done);
  expect("upper_half", outside.ymm[15].word[3], word_of(15, 3));
  expect("sum", outside.ymm[0].word[2], word_of(0, 2) + word_of(1, 2));
}

// An area in a frame is the standard form (SDM vol. 1, 13.8.1): what ERESUME takes is checked before anything changes.
CASE(damaged_frame) {
  static const struct {
    const char* name;
    u64 offset, value;
  } rows[] = {
      {"component_beyond_xfrm", header_at, with_avx | u64{1} << 9},
      {"compacted", header_at + 8, u64{1} << 63 | with_avx},
      {"reserved", header_at + 56, 1},
  };
  for (const auto& row : rows) {
    line(row.name);
    plan_vectors(with_avx);
    the_plan.tcs.oentry = break_off;
    launch();
    enter_enclave();
    poke(place_of(0, ssa_page), row.offset, row.value);
    fill_vectors();
    call_enclu(arch::EncluLeaf::eresume, in_enclave(tcs_page), aep);
    execute();
    expect("vector", ending.trap.vector, vec::gp);
    expect("cssa", static_cast<u32>(peek(place_of(0, tcs_page), 24)), 1);
    expect("upper_half", read_vectors().ymm[5].word[3], 0x5a5a'5a5a);
  }
}
