// A domain without EPC is a processor without SGX (SDM vol. 3D, 36.7.2): leaf 0x12 is not there, ENCLS and ENCLU are
// #UD, the MSRs that SGX brings are #GP.
#include "payload.hpp"

namespace {
constexpr auto k = Mode::kernel64, u = Mode::user64;
}

CASE(cpuid) {
  expect("sgx", cpu::cpuid(7).ebx >> 2 & 1, 0);
  expect("sgx_lc", cpu::cpuid(7).ecx >> 30 & 1, 0);
  for (u32 i = 0; i < 4; i++) {
    const cpu::Cpuid r = cpu::cpuid(0x12, i);
    expect("leaf_12", r.eax | r.ebx | r.ecx | r.edx, 0);
  }
}

CASE(instructions) {
  line("encls");
  expect_fault(run(k, CODE(".byte 0x0f, 0x01, 0xcf"), {.rax = 3, .rcx = data_va}), vec::ud, 0, 0);
  line("encls_unknown_leaf");
  expect_fault(run(k, CODE(".byte 0x0f, 0x01, 0xcf"), {.rax = 0x99}), vec::ud, 0, 0);
  line("encls_at_cpl3");
  expect_fault(run(u, CODE(".byte 0x0f, 0x01, 0xcf"), {.rax = 3}), vec::ud, 0, 0);
  line("enclu");
  expect_fault(run(u, CODE(".byte 0x0f, 0x01, 0xd7"), {.rax = 2}), vec::ud, 0, 0);
  line("enclv");
  expect_fault(run(k, CODE(".byte 0x0f, 0x01, 0xc0")), vec::ud, 0, 0);
}

CASE(msrs) {
  for (u32 index : {0x8cu, 0x8du, 0x8eu, 0x8fu, 0x500u}) {
    expect_fault(attempt([=] { cpu::rdmsr(index); }), vec::gp, 0);
    expect_fault(attempt([=] { cpu::wrmsr(index, 0); }), vec::gp, 0);
  }
  line("feature_control_has_no_sgx");
  Trap t = attempt([] { expect("sgx_bits", cpu::rdmsr(0x3a) & (3 << 17), 0); });
  expect("readable_or_gp", t.vector == vec::none || t.vector == vec::gp, 1);
}
