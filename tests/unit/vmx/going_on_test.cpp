// A processor that goes on in another one: all that it has can be read and written through the door, between any two
// instructions (SDM vol. 3C, 25.4). The second has the first's time and its randomness, too.
#include <vector>

#include "arch/msr.hpp"
#include "guest.hpp"

namespace cloister::vmx {
namespace {

namespace f = arch::rflags;
namespace v = arch::vector;

class GoingOn : public OneProcessor {
 protected:
  GoingOn() : OneProcessor() {
    if (package_->capabilities().deterministic_clock) settings_ = {.clock = ClockMode::deterministic, .seed = 7};
  }

  /// Another processor of the same memory, with all that `from` has.
  std::unique_ptr<Vcpu> another(const Vcpu& from) {
    namespace msr = arch::msr;
    auto to = guest_.processor(settings_);
    to->set_system(from.system());
    to->set_general(from.general());
    to->set_fpu(from.fpu());
    for (const u32 index : {msr::sysenter_cs, msr::star, msr::lstar, msr::fmask, msr::kernel_gs_base, msr::tsc_aux})
      EXPECT_TRUE(to->write_msr(index, *from.read_msr(index))) << index;
    to->set_interruptibility(from.interruptibility());
    to->set_drawn(from.drawn());
    to->skip_to(from.tsc());
    return to;
  }

  Vcpu::Config settings_;
};

/// What is to be seen of a processor after an instruction.
struct Look {
  explicit Look(const Vcpu& vcpu)
      : general(vcpu.general()),
        system(vcpu.system()),
        fpu(vcpu.fpu()),
        state(vcpu.interruptibility()),
        tsc(vcpu.tsc()),
        drawn(vcpu.drawn()) {}
  GeneralRegs general;
  SystemRegs system;
  FxsaveImage fpu;
  Interruptibility state;
  u64 tsc, drawn;
};

TEST_P(GoingOn, BetweenAnyTwoInstructions) {
  CLOISTER_NEEDS(*package_, deterministic_clock);
  guest_.put_bytes(code, std::initializer_list<u8>{
                             0x8e, 0xd0,                    // mov ss, ax
                             0x90,                          // nop
                             0xfb,                          // sti
                             0x90,                          // nop
                             0x48, 0x0f, 0xc7, 0xf1,        // rdrand rcx
                             0x0f, 0x31,                    // rdtsc
                             0xdb, 0xe3,                    // fninit
                             0xd9, 0xe8,                    // fld1
                             0xd9, 0xeb,                    // fldpi
                             0xf3, 0x48, 0x0f, 0x2a, 0xdf,  // cvtsi2ss xmm3, rdi
                             0x48, 0x0f, 0xc7, 0xf3,        // rdrand rbx
                             0x0f, 0x22, 0xd7,              // mov cr2, rdi
                             0x0f, 0x23, 0xcf,              // mov dr1, rdi
                             0x48, 0xff, 0xc7,              // inc rdi
                             0x9c,                          // pushf
                             0x80, 0x4c, 0x24, 0x01, 0x01,  // or byte [rsp + 1], 1: TF
                             0x9d,                          // popf
                             0x90,                          // nop, and then #DB
                             0xf4,
                         });
  guest_.put_bytes(handler_of(v::nmi), std::initializer_list<u8>{0x90, 0x48, 0xcf});  // nop; iretq
  guest_.put_bytes(handler_of(v::db), std::initializer_list<u8>{0x90, 0x48, 0xcf});

  // Each runs step by step from an NMI on; the second goes on in another processor after each step.
  const auto looks = [&](bool moves) {
    std::vector<Look> seen;
    auto vcpu = guest_.processor(settings_);
    GeneralRegs regs = vcpu->general();
    regs.gpr[arch::rax] = data_selector;
    regs.gpr[arch::rdi] = 0x1234'5678;
    regs.gpr[arch::rsp] = stack;
    vcpu->set_general(regs);
    vcpu->write_msr(arch::msr::lstar, 0x1111);
    Controls controls;
    controls.monitor_trap = true;
    vcpu->set_controls(controls);
    vcpu->inject({v::nmi, EventType::nmi});
    while (vcpu->run(plenty).reason == ExitReason::monitor_trap_flag && seen.size() < 100) {
      seen.emplace_back(*vcpu);
      if (!moves) continue;
      vcpu = another(*vcpu);
      vcpu->set_controls(controls);
    }
    seen.emplace_back(*vcpu);
    return seen;
  };
  const std::vector<Look> whole = looks(false), parts = looks(true);
  ASSERT_EQ(whole.size(), parts.size());
  bool sti = false, mov_ss = false, nmi = false, debug = false;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const Look &a = whole[i], &b = parts[i];
    EXPECT_EQ(a.general.gpr, b.general.gpr) << i;
    EXPECT_EQ(a.general.rip, b.general.rip) << i;
    EXPECT_EQ(a.general.rflags, b.general.rflags) << i;
    EXPECT_EQ(a.system.cr2, b.system.cr2) << i;
    EXPECT_EQ(a.system.dr, b.system.dr) << i;
    EXPECT_EQ(a.system.dr6, b.system.dr6) << i;
    EXPECT_EQ(a.fpu, b.fpu) << i;
    EXPECT_EQ(a.state, b.state) << i;
    EXPECT_EQ(a.tsc, b.tsc) << i;
    EXPECT_EQ(a.drawn, b.drawn) << i;
    sti = sti || a.state.sti;
    mov_ss = mov_ss || a.state.mov_ss;
    nmi = nmi || a.state.nmi;
    debug = debug || a.state.pending_debug != 0;
  }
  EXPECT_TRUE(sti && mov_ss && nmi && debug) << "the program goes through all of these";
  EXPECT_EQ(whole.back().drawn, 2u);
  EXPECT_EQ(whole.back().general.rip, code + 43);
}

TEST_P(GoingOn, EachStateIsItsOwn) {
  for (const Interruptibility& state :
       {Interruptibility{}, Interruptibility{.sti = true}, Interruptibility{.mov_ss = true},
        Interruptibility{.nmi = true}, Interruptibility{.pending_debug = arch::dr6::bs}}) {
    vcpu_->set_interruptibility(state);
    EXPECT_EQ(vcpu_->interruptibility(), state);
    EXPECT_EQ(vcpu_->nmi_interruptible(), !state.sti && !state.mov_ss && !state.nmi);
  }
}

TEST_P(GoingOn, TimeGoesOn) {
  for (const ClockMode clock : {ClockMode::host, ClockMode::deterministic}) {
    if (clock == ClockMode::deterministic) CLOISTER_NEEDS(*package_, deterministic_clock);
    Time time;
    time.resume(u64{5} << 40);
    const auto vcpu = guest_.processor({.clock = clock, .time = &time});
    EXPECT_GE(vcpu->tsc(), u64{5} << 40);
    EXPECT_LT(vcpu->tsc(), (u64{5} << 40) + 1000 * tsc_hz);
  }
}

CLOISTER_EACH_IMPLEMENTATION(GoingOn);

}  // namespace
}  // namespace cloister::vmx
