// The payload's main loop, its report on COM1 and the C++ half of the catcher: see payload.hpp.
#include "payload.hpp"

extern "C" const CaseEntry* const __start_cases[];
extern "C" const CaseEntry* const __stop_cases[];

Trap last_trap;

// The compiler may call these in freestanding code (GCC manual, 2.1).
extern "C" void* memcpy(void* to, const void* from, u64 n) {
  void* start = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  return start;
}
extern "C" void* memset(void* to, int value, u64 n) {
  void* start = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  return start;
}

namespace {

Hook hooks[256];
const char* case_name;
bool line_open, line_failed;
unsigned cases, failures;

void put(char c) {
  while (!(cpu::in8(0x3fd) & 0x20)) {
  }
  cpu::out8(0x3f8, static_cast<u8>(c));
}

void print_decimal(unsigned v) {
  if (v >= 10) print_decimal(v / 10);
  put(static_cast<char>('0' + v % 10));
}

void close_line() {
  if (!line_open) return;
  print(line_failed ? " FAIL\n" : " ok\n");
  line_open = false;
  cases++;
  if (line_failed) failures++;
}

void open_line(const char* sub) {
  close_line();
  line_open = true;
  line_failed = false;
  print("CASE ");
  print(case_name);
  if (sub) {
    print("/");
    print(sub);
  }
  print(":");
}

const CaseEntry* next_after(unsigned source_line) {
  const CaseEntry* best = nullptr;
  for (auto p = __start_cases; p != __stop_cases; p++) {
    if ((*p)->line > source_line && (!best || (*p)->line < best->line)) best = *p;
  }
  return best;
}

}  // namespace

void print(const char* text) {
  while (*text) put(*text++);
}

void print_hex(u64 v) {
  print("0x");
  bool started = false;
  for (int shift = 60; shift >= 0; shift -= 4) {
    unsigned digit = (v >> shift) & 15;
    if (digit) started = true;
    if (started || !shift) put("0123456789abcdef"[digit]);
  }
}

void power_off() {
  cpu::out8(0x605, (5 << 2) | 0x20);  // PM1 control, upper byte: S5 and SLP_EN
  cpu::out8(0x501, 0);                // QEMU's isa-debug-exit
  for (;;) asm volatile("cli; hlt");
}

void line(const char* name) { open_line(name); }

bool on_tcg() {
  const cpu::Cpuid r = cpu::cpuid(0x40000000);
  return r.ebx == 0x54474354 && r.ecx == 0x43544743 && r.edx == 0x47435447;  // "TCGTCGTCGTCG"
}

void skip(const char* reason) {
  if (!line_open) open_line(nullptr);
  print(" skipped (");
  print(reason);
  print(")");
}

bool need(bool feature, const char* name) {
  if (feature) return true;
  if (on_tcg()) {
    skip(name);
  } else {
    expect(name, 0, 1);
  }
  return false;
}

void expect(const char* field, u64 found, u64 expected) {
  if (!line_open) open_line(nullptr);
  print(" ");
  print(field);
  print("=");
  print_hex(found);
  if (found != expected) {
    print("(expected ");
    print_hex(expected);
    print(")");
    line_failed = true;
  }
}

void expect_fault(const Trap& trap, u64 vector, u64 error, u64 offset) {
  expect_fault(trap, vector, error);
  expect("rip", trap.offset(), offset);
}

void expect_fault(const Trap& trap, u64 vector, u64 error) {
  expect("vector", trap.vector, vector);
  expect("error", trap.error, error);
}

void expect_page_fault(const Trap& trap, u64 error, u64 address) {
  expect_fault(trap, vec::pf, error);
  if (trap.vector == vec::pf) expect("cr2", trap.cr2, address);
}

void expect_done(const Trap& trap) {
  expect("vector", trap.vector, vec::done);
  if (trap.vector != vec::done) {
    expect("error", trap.error, 0);
    expect("rip", trap.offset(), 0);
  }
}

u64 Trap::offset() const { return rip - code_va; }

void set_hook(u64 vector, Hook hook) { hooks[vector] = hook; }

extern "C" bool on_trap(Frame* frame) {
  if (hooks[frame->vector] && hooks[frame->vector](*frame)) return true;
  static_cast<Frame&>(last_trap) = *frame;
  last_trap.cr2 = cpu::cr2();
  last_trap.dr6 = cpu::dr6();

  last_trap.stack = reinterpret_cast<u64>(frame + 1);
  if (recover_rsp) return false;
  print("\nPANIC vector=");
  print_hex(frame->vector);
  print(" error=");
  print_hex(frame->error);
  print(" rip=");
  print_hex(frame->rip);
  print(" cr2=");
  print_hex(last_trap.cr2);
  print("\n");
  power_off();
}

Context context_for(Mode mode, const Regs& regs, u64 rflags) {
  static constexpr u16 cs[] = {KERNEL_CS, KERNEL_CS32, USER_CS | 3, USER_CS32 | 3};
  const bool user = mode == Mode::user64 || mode == Mode::user32;
  const u64 ds = user ? (USER_DS | 3) : KERNEL_DS;
  Context c{};
  c.gpr[0] = regs.rax;
  c.gpr[1] = regs.rcx;
  c.gpr[2] = regs.rdx;
  c.gpr[3] = regs.rbx;
  c.gpr[5] = regs.rbp;
  c.gpr[6] = regs.rsi;
  c.gpr[7] = regs.rdi;
  c.gpr[8] = regs.r8;
  c.gpr[9] = regs.r9;
  c.data = ds;
  c.rip = code_va;
  c.cs = cs[static_cast<unsigned>(mode)];
  c.rflags = rflags;
  c.rsp = stack_top;
  c.ss = ds;
  return c;
}

void place_code(Code code) {
  u64 to = 0;
  auto store = [&](u8 byte) {
    at<u8>(physical_of(code_va + (to & ~u64{4095})) + (to & 4095)) = byte;
    to++;
  };
  for (const u8* p = code.begin; p != code.end; p++) store(*p);
  store(0xcd);  // int 0x81
  store(0x81);
}

Trap run_context(const Context& context) {
  enter(&context);
  return last_trap;
}

Trap run(Mode mode, Code code, const Regs& regs, u64 rflags) {
  place_code(code);
  return run_context(context_for(mode, regs, rflags));
}

extern "C" void payload_main() {
  for (const CaseEntry* c = next_after(0); c; c = next_after(c->line)) {
    reset_machine();
    for (Hook& hook : hooks) hook = nullptr;
    case_name = c->name;
    c->body();
    if (!line_open) open_line(nullptr);
    close_line();
  }
  print("DONE cases=");
  print_decimal(cases);
  print(" failures=");
  print_decimal(failures);
  print("\n");
  power_off();
}
