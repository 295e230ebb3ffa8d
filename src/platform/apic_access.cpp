// The local APIC's register file, reached as memory (xAPIC, SDM vol. 3A, 11.4.1) or as MSRs (x2APIC, 11.12.1). Both
// reach the same registers; they differ in which exist, in the width of IDs and of the ICR, and in what reserved bits
// do.
#include <utility>

#include "platform/apic.hpp"
#include "platform/apic_registers.hpp"

namespace cloister::platform {
namespace {

constexpr u32 lvt_masked = 1 << 16;
constexpr u32 delivery_status = 1 << 12, remote_irr = 1 << 14;  // read only
constexpr u32 command_bits = 0xc'cfff, spurious_bits = 0x3ff, divide_bits = 0xb;
constexpr u32 version = 0x14 | 5 << 16;  // integrated, six LVT entries, EOI broadcast cannot be suppressed
constexpr u32 msr_base = 0x800;

// Which bits of each LVT entry can be written (figure 11-8): vector and mask; the timer's mode; delivery mode; LINT's
// polarity and trigger.
constexpr std::array<u32, 6> lvt_bits{0x7'00ff, 0x1'07ff, 0x1'07ff, 0x1'a7ff, 0x1'a7ff, 0x1'00ff};

enum Access : u8 { absent = 0, readable = 1, writable = 2, both = 3 };

// Table 11-6. What x2APIC lacks: DFR, the ICR's second half, arbitration priority and remote read; what xAPIC lacks:
// self IPI. The xAPIC ID is not to be changed (11.4.6: model specific).
Access access_of(u32 number, bool x2apic) {
  const Access xapic_only = x2apic ? absent : both;
  switch (number) {
    case reg_id:
    case reg_version:
    case reg_processor_priority:
    case reg_current_count: return readable;
    case reg_eoi: return writable;
    case reg_task_priority:
    case reg_spurious:
    case reg_error_status:
    case reg_command_low:
    case reg_initial_count:
    case reg_divide: return both;
    case reg_logical_destination: return x2apic ? readable : both;
    case reg_destination_format:
    case reg_command_high: return xapic_only;
    case reg_arbitration_priority:
    case reg_remote_read: return x2apic ? absent : readable;
    case reg_self_ipi: return x2apic ? writable : absent;
    default: break;
  }
  if (number >= reg_isr && number < reg_irr + 8) return readable;
  return number >= reg_lvt && number < reg_lvt + lvt_bits.size() ? both : absent;
}

// Bits that must be zero in a WRMSR to an x2APIC register (11.12.1.3). ICR is not here: it has 64 bits.
u32 reserved_bits(u32 number) {
  switch (number) {
    case reg_task_priority:
    case reg_self_ipi: return ~0xffu;
    case reg_eoi:
    case reg_error_status: return ~0u;
    case reg_spurious: return ~spurious_bits;
    case reg_divide: return ~divide_bits;
    case reg_initial_count: return 0;
    case reg_lvt + lvt_lint0:
    case reg_lvt + lvt_lint1: return ~(lvt_bits[lvt_lint0] | delivery_status | remote_irr);
    default: return ~(lvt_bits[number - reg_lvt] | delivery_status);
  }
}

}  // namespace

void LocalApic::clear_registers() {  // 11.4.7.1
  registers_.task_priority = registers_.logical_destination = registers_.command_low = registers_.command_high =
      registers_.errors = registers_.new_errors = 0;
  registers_.destination_format = 0xffff'ffff;
  registers_.spurious = 0xff;
  registers_.lvt.fill(lvt_masked);
  registers_.irr = registers_.isr = registers_.tmr = registers_.eoi_broadcasts = {};
  timer_.reset();
  registers_.nmi = false;
}

bool LocalApic::masked(unsigned lvt) const { return registers_.lvt[lvt] & lvt_masked; }

// In x2APIC mode derived from the ID (11.12.10.2): cluster in the upper half, a bit of 16 in the lower.
u32 LocalApic::logical_id() const {
  return x2apic() ? id_ >> 4 << 16 | 1u << (id_ & 0xf) : registers_.logical_destination;
}

// 11.4.7.2: a software-disabled APIC has all LVT entries masked.
void LocalApic::write_spurious(u32 value) {
  registers_.spurious = value & spurious_bits;
  if (!software_enabled())
    for (u32& entry : registers_.lvt) entry |= lvt_masked;
}

void LocalApic::write_lvt(unsigned lvt, u32 value) {
  registers_.lvt[lvt] = value & lvt_bits[lvt];
  if (!software_enabled()) registers_.lvt[lvt] |= lvt_masked;
  if (lvt == lvt_timer) timer_.set_mode(static_cast<ApicTimer::Mode>(value >> 17 & 3));
}

std::optional<u32> LocalApic::read_register(u32 number, u64 now) const {
  if (!(access_of(number, x2apic()) & readable)) return std::nullopt;
  switch (number) {
    case reg_id: return x2apic() ? id_ : id_ << 24;
    case reg_version: return version;
    case reg_task_priority: return registers_.task_priority;
    case reg_processor_priority: return priority();
    case reg_logical_destination: return logical_id();
    case reg_destination_format: return registers_.destination_format;
    case reg_spurious: return registers_.spurious;
    case reg_error_status: return registers_.errors;
    case reg_command_low: return registers_.command_low;
    case reg_command_high: return registers_.command_high;
    case reg_initial_count: return timer_.initial();
    case reg_current_count: return timer_.current(now);
    case reg_divide: return timer_.divide();
    case reg_arbitration_priority:
    case reg_remote_read: return 0;  // not since the Pentium 4
    default: break;
  }
  if (number >= reg_lvt) return registers_.lvt[number - reg_lvt];
  if (number >= reg_irr) return registers_.irr.dword(number - reg_irr);
  return number >= reg_tmr ? registers_.tmr.dword(number - reg_tmr) : registers_.isr.dword(number - reg_isr);
}

bool LocalApic::write_register(u32 number, u32 value, u64 now, std::optional<InterruptMessage>& sent) {
  if (!(access_of(number, x2apic()) & writable)) return false;
  advance(now);
  switch (number) {
    case reg_task_priority: registers_.task_priority = value & 0xff; break;
    case reg_eoi: end_of_interrupt(); break;
    case reg_logical_destination: registers_.logical_destination = value & 0xff00'0000; break;
    case reg_destination_format: registers_.destination_format = value | 0x0fff'ffff; break;
    case reg_spurious: write_spurious(value); break;
    case reg_error_status: registers_.errors = std::exchange(registers_.new_errors, 0); break;
    case reg_command_high: registers_.command_high = value & 0xff00'0000; break;
    case reg_command_low:
      registers_.command_low = value & command_bits;
      sent = send(registers_.command_low, x2apic() ? registers_.command_high : registers_.command_high >> 24);
      break;
    case reg_initial_count: timer_.set_initial(value, now); break;
    case reg_divide: timer_.set_divide(value & divide_bits, now); break;
    case reg_self_ipi: send(1u << 18 | (value & 0xff), 0); break;
    default: write_lvt(number - reg_lvt, value); break;
  }
  return true;
}

u32 LocalApic::read(u32 offset, u64 now) {
  if (!enabled() || x2apic() || offset % 16) return 0;
  advance(now);
  const u32 number = offset / 16;
  if (access_of(number, false) == absent) raise_error(esr_illegal_register);
  return read_register(number, now).value_or(0);
}

std::optional<InterruptMessage> LocalApic::write(u32 offset, u32 value, u64 now) {
  std::optional<InterruptMessage> sent;
  if (!enabled() || x2apic() || offset % 16) return sent;
  const u32 number = offset / 16;
  if (!write_register(number, value, now, sent) && access_of(number, false) == absent)
    raise_error(esr_illegal_register);
  return sent;
}

std::optional<u64> LocalApic::read_msr(u32 index, u64 now) {
  if (!x2apic() || index < msr_base) return std::nullopt;
  advance(now);
  const auto low = read_register(index - msr_base, now);
  if (!low) return std::nullopt;
  return index - msr_base == reg_command_low ? u64{registers_.command_high} << 32 | *low : u64{*low};
}

bool LocalApic::write_msr(u32 index, u64 value, u64 now, std::optional<InterruptMessage>& sent) {
  const u32 number = index - msr_base, low = static_cast<u32>(value), high = static_cast<u32>(value >> 32);
  if (!x2apic() || !(access_of(number, true) & writable)) return false;
  if (number == reg_command_low) {  // processors ignore the delivery status bit that xAPIC has there
    if (low & ~(command_bits | delivery_status)) return false;
    registers_.command_high = high;
  } else if (high || low & reserved_bits(number)) {
    return false;
  }
  return write_register(number, low, now, sent);
}

}  // namespace cloister::platform
