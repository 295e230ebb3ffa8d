// Runs an instruction natively. IRETQ loads RIP, RFLAGS, RSP and the code segment at once; the exception that ends the
// instruction comes back as a signal, whose handler copies the registers from the signal frame and lets it return to
// the caller of enter(). One signal a case.
//
// The frame's trap number and error code are the processor's (Linux: sigcontext_64). FS belongs to the host's thread
// pointer and is never used by cases; GS is free on x86-64 Linux. R8 to R15 survive compatibility mode unseen.
#include "oracle/cpu/native.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstring>
#include <stdexcept>
#include <vector>

#include "silicon/state/host_features.hpp"

namespace cloister::oracle {
namespace {

/// What the entry code loads; the order is the assembly's.
struct Entry {
  FpuImage fpu;
  std::array<u64, 16> gpr;
  u64 rip, cs, rflags, has_upper;
  std::array<std::array<u64, 2>, 16> upper;
};
static_assert(offsetof(Entry, gpr) == 512 && offsetof(Entry, rip) == 640 && offsetof(Entry, upper) == 672);

Outcome* outcome = nullptr;  // of the run in progress; null outside

}  // namespace
}  // namespace cloister::oracle

extern "C" {
void cloister_oracle_enter(const void* entry);
void cloister_oracle_resume();
extern std::uint64_t cloister_oracle_stack;
}

asm(R"(
  .data
  .balign 8
cloister_oracle_stack: .quad 0
cloister_oracle_mxcsr: .long 0x1f80
cloister_oracle_has_upper: .long 0
  .text
  .globl cloister_oracle_enter, cloister_oracle_resume, cloister_oracle_stack
  .type cloister_oracle_enter, @function
cloister_oracle_enter:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, cloister_oracle_stack(%rip)
  fxrstor64 (%rdi)
  mov 664(%rdi), %eax
  mov %eax, cloister_oracle_has_upper(%rip)
  test %eax, %eax
  jz 1f
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
  vinsertf128 $1, 672+16*\n(%rdi), %ymm\n, %ymm\n
  .endr
1:
  pushq $0x2b
  pushq 512+4*8(%rdi)
  pushq 656(%rdi)
  pushq 648(%rdi)
  pushq 640(%rdi)
  mov 512+0*8(%rdi), %rax
  mov 512+1*8(%rdi), %rcx
  mov 512+2*8(%rdi), %rdx
  mov 512+3*8(%rdi), %rbx
  mov 512+5*8(%rdi), %rbp
  mov 512+6*8(%rdi), %rsi
  mov 512+8*8(%rdi), %r8
  mov 512+9*8(%rdi), %r9
  mov 512+10*8(%rdi), %r10
  mov 512+11*8(%rdi), %r11
  mov 512+12*8(%rdi), %r12
  mov 512+13*8(%rdi), %r13
  mov 512+14*8(%rdi), %r14
  mov 512+15*8(%rdi), %r15
  mov 512+7*8(%rdi), %rdi
  iretq
cloister_oracle_resume:
  fninit
  cmpl $0, cloister_oracle_has_upper(%rip)
  je 1f
  vzeroupper
1:
  ldmxcsr cloister_oracle_mxcsr(%rip)
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
  .size cloister_oracle_enter, .-cloister_oracle_enter
)");

namespace cloister::oracle {
namespace {

/// Bits 255:128 in a signal frame (Linux: struct _xstate, the standard form of XSAVE; SDM vol. 1, 13.4).
void take_upper(const void* frame, State& out) {
  const u8* const area = static_cast<const u8*>(frame);
  u64 present;
  std::memcpy(&present, area + 512, sizeof present);
  constexpr u64 avx = 4;
  out.upper = {};
  if ((present & avx) != 0) std::memcpy(out.upper.data(), area + 576, sizeof out.upper);
}

u64 read_gs_base() {
  u64 base = 0;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}

/// DS, ES and GS as cases expect them. Needed before the first case, after one that loads a segment register, and where
/// the host has taken the base away.
void set_segments() {
  const u64 gs_base = sandbox::gs_base;
  asm volatile("mov %w0, %%ds\n mov %w0, %%es\n mov %w0, %%gs\n wrgsbase %1" ::"r"(u32{selector::data}), "r"(gs_base));
}

std::array<u16, 4> read_segments() {
  u32 es = 0, ds = 0, fs = 0, gs = 0;
  asm volatile("mov %%es, %0\n mov %%ds, %1\n mov %%fs, %2\n mov %%gs, %3" : "=r"(es), "=r"(ds), "=r"(fs), "=r"(gs));
  return {static_cast<u16>(es), static_cast<u16>(ds), static_cast<u16>(fs), static_cast<u16>(gs)};
}

constexpr std::array<int, 16> frame_order = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

void on_signal(int number, siginfo_t*, void* context) {
  if (outcome == nullptr) {  // a fault of the test program itself
    signal(number, SIG_DFL);
    return;
  }
  ucontext_t& frame = *static_cast<ucontext_t*>(context);
  greg_t* const regs = frame.uc_mcontext.gregs;
  State& out = outcome->state;
  for (unsigned i = 0; i < 16; ++i) out.gpr[i] = static_cast<u64>(regs[frame_order[i]]);
  out.rip = static_cast<u64>(regs[REG_RIP]);
  out.rflags = static_cast<u64>(regs[REG_EFL]);
  std::memcpy(static_cast<void*>(&out.fpu), frame.uc_mcontext.fpregs, sizeof out.fpu);
  if (silicon::host_features().avx) take_upper(frame.uc_mcontext.fpregs, out);
  const u64 selectors = static_cast<u64>(regs[REG_CSGSFS]);  // cs, gs, fs, ss
  const auto [es, ds, fs, gs] = read_segments();
  out.seg = {es, static_cast<u16>(selectors), static_cast<u16>(selectors >> 48), ds, fs, gs};
  outcome->vector = static_cast<u8>(regs[REG_TRAPNO]);
  outcome->error = static_cast<u32>(regs[REG_ERR]);
  outcome->cr2 = static_cast<u64>(regs[REG_CR2]);

  regs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<u64>(&cloister_oracle_resume));
  regs[REG_RSP] = static_cast<greg_t>(cloister_oracle_stack);
  regs[REG_EFL] = arch::rflags::fixed1 | arch::rflags::if_;
  regs[REG_CSGSFS] =
      static_cast<greg_t>((selectors & 0x0000'ffff'ffff'0000) | selector::code64 | (u64{selector::data} << 48));
  // The frame returns with its own NT, AC and ID: leave none of the case's behind.
  asm volatile("pushq $0x202\n popfq" ::: "cc", "memory");
}

constexpr std::array<int, 5> signals = {SIGTRAP, SIGSEGV, SIGILL, SIGFPE, SIGBUS};

}  // namespace

struct Native::Impl {
  std::vector<u8> signal_stack = std::vector<u8>(128 * 1024);
  std::array<struct sigaction, signals.size()> old_actions{};
  stack_t old_stack{};
};

Native::Native() : impl_(std::make_unique<Impl>()) {
  void* const at = reinterpret_cast<void*>(sandbox::base);
  void* const mapped =
      mmap(at, sandbox::bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (mapped != at) throw std::runtime_error("cannot map the sandbox at its address");
  mprotect(at, arch::page_size, PROT_READ | PROT_WRITE | PROT_EXEC);

  stack_t stack{};
  stack.ss_sp = impl_->signal_stack.data();
  stack.ss_size = impl_->signal_stack.size();
  sigaltstack(&stack, &impl_->old_stack);
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &action, &impl_->old_actions[i]);
  set_segments();
}

Native::~Native() {
  for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &impl_->old_actions[i], nullptr);
  sigaltstack(&impl_->old_stack, nullptr);
  munmap(reinterpret_cast<void*>(sandbox::base), sandbox::bytes);
}

std::span<u8> Native::memory() { return {reinterpret_cast<u8*>(sandbox::base), sandbox::bytes}; }

Outcome Native::run(const State& state, bool bits64) {
  Outcome result;
  Entry entry{state.fpu,    state.gpr,
              state.rip,    bits64 ? selector::code64 : selector::code32,
              state.rflags, silicon::host_features().avx,
              state.upper};
  if (read_gs_base() != sandbox::gs_base) set_segments();
  outcome = &result;
  cloister_oracle_enter(&entry);
  outcome = nullptr;
  if (result.state.seg[arch::seg_es] != selector::data || result.state.seg[arch::seg_ds] != selector::data ||
      result.state.seg[arch::seg_gs] != selector::data) {
    set_segments();
  }

  const bool stopped_at_int3 = result.vector == arch::vector::bp;
  const bool stopped_at_fetch = result.vector == arch::vector::pf && (result.error & arch::pfec::id) != 0;
  if (stopped_at_int3) result.state.rip -= 1;
  if (stopped_at_int3 || stopped_at_fetch) {
    result.vector.reset();
    result.error = 0;
  }
  if (result.vector != arch::vector::pf) result.cr2 = 0;
  return result;
}

}  // namespace cloister::oracle
