// Names in the local APIC's register file (SDM vol. 3A, table 11-1 and figures of 11.5). Register n is at xAPIC offset
// 16 * n and is x2APIC MSR 0x800 + n (table 11-6).
#pragma once

#include "arch/types.hpp"

namespace cloister::platform {

enum ApicRegister : u32 {
  reg_id = 0x02,
  reg_version = 0x03,
  reg_task_priority = 0x08,
  reg_arbitration_priority = 0x09,
  reg_processor_priority = 0x0a,
  reg_eoi = 0x0b,
  reg_remote_read = 0x0c,
  reg_logical_destination = 0x0d,
  reg_destination_format = 0x0e,
  reg_spurious = 0x0f,
  reg_isr = 0x10,
  reg_tmr = 0x18,
  reg_irr = 0x20,
  reg_error_status = 0x28,
  reg_command_low = 0x30,
  reg_command_high = 0x31,
  reg_lvt = 0x32,  // the first of six
  reg_initial_count = 0x38,
  reg_current_count = 0x39,
  reg_divide = 0x3e,
  reg_self_ipi = 0x3f,
};

inline constexpr unsigned lvt_timer = 0, lvt_lint0 = 3, lvt_lint1 = 4, lvt_error = 5;
inline constexpr u32 svr_enable = 1 << 8;
inline constexpr u32 esr_sent_illegal_vector = 1 << 5, esr_received_illegal_vector = 1 << 6;
inline constexpr u32 esr_illegal_register = 1 << 7;

}  // namespace cloister::platform
