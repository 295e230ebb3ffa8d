// The local APIC as a processor and its bus see it: mode, interrupts in and out, priorities. Its register file is
// apic_access.cpp. Sections are those of SDM vol. 3A.
#include "platform/apic.hpp"

#include <utility>

#include "platform/apic_registers.hpp"

namespace cloister::platform {
namespace {

// IA32_APIC_BASE (11.4.4, 11.12.1).
constexpr u64 bootstrap = 1 << 8, extended = 1 << 10, global_enable = 1 << 11;
constexpr u64 address_bits = ((u64{1} << 52) - 1) & ~arch::page_mask;
constexpr u32 lowest_vector = 16;  // 11.5.2: vectors 0 to 15 are illegal

constexpr u64 base_after_reset(u32 id) { return apic_default_base | global_enable | (id == 0 ? bootstrap : 0); }

}  // namespace

LocalApic::LocalApic(u32 apic_id, u64 tsc_hz, u64 timer_hz)
    : id_(apic_id), registers_{.base = base_after_reset(apic_id)}, timer_(tsc_hz, timer_hz) {
  clear_registers();
}

u64 LocalApic::base_msr() const { return registers_.base; }
bool LocalApic::enabled() const { return registers_.base & global_enable; }
bool LocalApic::x2apic() const { return enabled() && registers_.base & extended; }
u64 LocalApic::mmio_base() const { return registers_.base & address_bits; }

// The transitions of 11.12.5: x2APIC is entered from xAPIC and left to disabled only. Disabling loses all state.
bool LocalApic::set_base_msr(u64 value) {
  if (value & ~(address_bits | bootstrap | extended | global_enable)) return false;
  const bool on = value & global_enable, extend = value & extended;
  if (extend && (!on || !enabled())) return false;
  if (x2apic() && on && !extend) return false;
  if (extend && !x2apic()) registers_.command_high = 0;
  registers_.base = (value & ~bootstrap) | (registers_.base & bootstrap);
  if (!on) clear_registers();
  return true;
}

void LocalApic::reset() {
  registers_.base = base_after_reset(id_);
  clear_registers();
}

void LocalApic::init() { clear_registers(); }

bool LocalApic::software_enabled() const { return enabled() && registers_.spurious & svr_enable; }

// Processor priority (11.8.3.1): the higher class of task priority and the vector in service.
u8 LocalApic::priority() const {
  const u8 in_service = registers_.isr.highest().value_or(0), task = static_cast<u8>(registers_.task_priority);
  return task >> 4 >= in_service >> 4 ? task : in_service & 0xf0;
}

u8 LocalApic::cr8() const { return static_cast<u8>(registers_.task_priority >> 4); }
void LocalApic::set_cr8(u8 value) { registers_.task_priority = static_cast<u32>(value & 0xf) << 4; }

std::optional<u8> LocalApic::pending() const {
  const auto vector = registers_.irr.highest();
  return enabled() && vector && *vector >> 4 > priority() >> 4 ? vector : std::nullopt;
}

u8 LocalApic::acknowledge() {
  const auto vector = pending();
  if (!vector) return static_cast<u8>(registers_.spurious);  // 11.9
  registers_.irr.clear(*vector);
  registers_.isr.set(*vector);
  return *vector;
}

void LocalApic::accept(u8 vector, bool level) {
  if (!software_enabled()) return;
  if (vector < lowest_vector) return raise_error(esr_received_illegal_vector);
  registers_.irr.set(vector);
  level ? registers_.tmr.set(vector) : registers_.tmr.clear(vector);
}

void LocalApic::accept_nmi() { registers_.nmi = true; }
bool LocalApic::take_nmi() { return std::exchange(registers_.nmi, false); }

void LocalApic::end_of_interrupt() {  // 11.8.5
  const auto vector = registers_.isr.highest();
  if (!vector) return;
  registers_.isr.clear(*vector);
  if (registers_.tmr.test(*vector)) registers_.eoi_broadcasts.set(*vector);
}

std::optional<u8> LocalApic::take_eoi_broadcast() {
  const auto vector = registers_.eoi_broadcasts.highest();
  if (vector) registers_.eoi_broadcasts.clear(*vector);
  return vector;
}

// 11.5.3: an error sets its bit and raises the error interrupt, which must not raise itself.
void LocalApic::raise_error(u32 bit) {
  registers_.new_errors |= bit;
  const u8 vector = static_cast<u8>(registers_.lvt[lvt_error]);
  if (!masked(lvt_error) && vector >= lowest_vector) accept(vector, false);
  if (!masked(lvt_error) && vector < lowest_vector) registers_.new_errors |= esr_received_illegal_vector;
}

void LocalApic::set_tsc_deadline(u64 value, u64 now) {
  advance(now);
  timer_.set_deadline(value);
  advance(now);
}

u64 LocalApic::tsc_deadline() const { return timer_.deadline(); }

void LocalApic::advance(u64 now) {
  if (timer_.expire(now) && !masked(lvt_timer)) accept(static_cast<u8>(registers_.lvt[lvt_timer]), false);
}

std::optional<u64> LocalApic::next_deadline() const { return masked(lvt_timer) ? std::nullopt : timer_.next(); }

// 11.6.2 and 11.12.10. Messages from xAPIC senders and IOAPICs have 8-bit destinations; 0xFF of those is all
// processors.
bool LocalApic::matches(const InterruptMessage& message) const {
  constexpr u32 everyone = 0xffff'ffff, everyone_8_bits = 0xff;
  if (!enabled()) return false;
  if (message.shorthand) return true;
  const u32 to = message.destination;
  if (to == everyone || (to == everyone_8_bits && (!message.logical || !x2apic()))) return true;
  if (!message.logical) return to == (x2apic() ? id_ : id_ & 0xff);
  const u32 own = logical_id();
  if (x2apic()) return to >> 16 == own >> 16 && to & own & 0xffff;
  const u32 set = own >> 24;
  const bool flat = registers_.destination_format >> 28 == 0xf;
  return flat ? to & set : to >> 4 == set >> 4 && to & set & 0xf;
}

// The interrupt command register (11.6.1). Reserved delivery modes, combinations that table 11-3 calls invalid and
// INIT's level de-assert send nothing; all IPIs are edge triggered.
std::optional<InterruptMessage> LocalApic::send(u32 command, u32 destination) {
  constexpr u8 fixed = 0, lowest_priority = 1, reserved = 3, init = 5, external = 7;
  constexpr u8 no_shorthand = 0, self = 1, all = 2;
  const u8 vector = static_cast<u8>(command), delivery = command >> 8 & 7, shorthand = command >> 18 & 3;
  const bool logical = command >> 11 & 1, assert_level = command >> 14 & 1, level_triggered = command >> 15 & 1;
  if (delivery == reserved || delivery == external) return std::nullopt;
  if (delivery == init && level_triggered && !assert_level) return std::nullopt;
  if ((shorthand == self || shorthand == all) && delivery != fixed) return std::nullopt;
  if ((delivery == fixed || delivery == lowest_priority) && vector < lowest_vector) {
    raise_error(esr_sent_illegal_vector);
    return std::nullopt;
  }
  if (shorthand == self) {
    accept(vector, false);
    return std::nullopt;
  }
  return InterruptMessage{shorthand == no_shorthand ? destination : 0,
                          logical && shorthand == no_shorthand,
                          shorthand,
                          delivery,
                          vector,
                          false};
}

}  // namespace cloister::platform
