// What far transfers share: JMP and CALL (far.cpp), RET and IRET (far_return.cpp).
#pragma once

#include "silicon/isa/insn.hpp"
#include "silicon/isa/system/descriptor.hpp"

namespace cloister::silicon {

/// The target offset lies in the new code segment.
tl::expected<void, Miss> check_target(const Cpu& cpu, const Descriptor& code, u64 offset);

void load_code(Cpu& cpu, const Descriptor& d, u16 selector, unsigned cpl, u64 rip);

/// The far instruction `op` is done, and RIP is set.
void far_done(Cpu& cpu, const Op* op);

/// In real mode.
void real_far(Cpu& cpu, u16 selector, u64 offset);

/// A task gate or TSS: the hypervisor's affair.
Miss task_switch_exit(u16 selector, unsigned source);

/// The row of far RET.
Selected select_ret_far(const Insn& insn, Op& op);

}  // namespace cloister::silicon
