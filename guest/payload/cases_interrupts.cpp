// Interrupts: local APIC in both modes (SDM vol. 3A, ch. 11), its timer (11.5.4), task priority (11.8.3), NMI (6.7),
// IOAPIC (82093AA data sheet) with the UART, HLT and the window after STI (6.8.3).
#include "payload.hpp"

namespace {

constexpr auto k = Mode::kernel64;
constexpr u64 apic_mmio = 0xfee0'0000, ioapic_mmio = 0xfec0'0000;
constexpr u32 id_reg = 0x20, tpr = 0x80, ppr = 0xa0, eoi = 0xb0, svr = 0xf0, isr = 0x100, irr = 0x200, esr = 0x280,
              icr = 0x300, icr2 = 0x310, lvt_timer = 0x320, initial = 0x380, current = 0x390, divide = 0x3e0;
constexpr u32 msr_apic_base = 0x1b, msr_deadline = 0x6e0;

bool x2apic;

u32 read(u32 reg) {
  return x2apic ? static_cast<u32>(cpu::rdmsr(0x800 + reg / 16)) : at<volatile u32>(apic_mmio + reg);
}
void write(u32 reg, u32 v) {
  if (x2apic) {
    cpu::wrmsr(0x800 + reg / 16, v);
  } else {
    at<volatile u32>(apic_mmio + reg) = v;
  }
}

u8 seen[64];
volatile unsigned seen_count;
bool send_eoi;

bool record(Frame& frame) {
  if (seen_count < 64) seen[seen_count] = static_cast<u8>(frame.vector);
  seen_count = seen_count + 1;
  if (send_eoi && frame.vector != vec::nmi) write(eoi, 0);
  return true;
}

void enable_apic() {
  x2apic = cpu::rdmsr(msr_apic_base) >> 10 & 1;
  seen_count = 0;
  send_eoi = true;
  for (unsigned v : {0x40u, 0x41u, 0x50u, 0x60u, 0xf0u, 2u, 0xffu}) set_hook(v, record);
  write(svr, 0x1ff);
  write(tpr, 0);
  write(lvt_timer, 0x10000);
}

void self_ipi(u8 vector) {
  if (x2apic) {
    cpu::wrmsr(0x83f, vector);
  } else {
    write(icr, 0x40000 | vector);  // shorthand: self
  }
}

void window() { asm volatile("sti; nop; nop; cli" ::: "memory"); }

/// Waits with interrupts on until `n` have come; false after a long time.
bool wait_for(unsigned n) {
  for (unsigned i = 0; i < 20'000'000 && seen_count < n; i++) asm volatile("sti; nop; cli" ::: "memory");
  return seen_count >= n;
}

void test_self_ipi() {
  enable_apic();
  self_ipi(0x40);
  expect("irr", read(irr + 0x20) & 1, 1);
  expect("before_sti", seen_count, 0);
  window();
  expect("count", seen_count, 1);
  expect("vector", seen[0], 0x40);
  expect("irr_after", read(irr + 0x20) & 1, 0);
  expect("isr_after_eoi", read(isr + 0x20) & 1, 0);
}

}  // namespace

CASE(self_ipi_xapic) { test_self_ipi(); }

// 11.8.3 and 11.8.4: the highest vector first; a class not above TPR or the one in service waits.
CASE(priority) {
  enable_apic();
  line("highest_first");
  self_ipi(0x40);
  self_ipi(0x60);
  self_ipi(0x50);
  window();
  window();
  expect("count", seen_count, 3);
  expect("first", seen[0], 0x60);
  expect("second", seen[1], 0x50);
  expect("third", seen[2], 0x40);
  line("tpr_holds_back");
  seen_count = 0;
  write(tpr, 0x50);
  self_ipi(0x50);
  window();
  expect("held", seen_count, 0);
  expect("ppr", read(ppr), 0x50);
  self_ipi(0x60);
  window();
  expect("above", seen_count, 1);
  write(tpr, 0);
  window();
  expect("released", seen_count, 2);
  line("cr8_is_tpr");
  cpu::set_cr8(7);
  expect("tpr", read(tpr), 0x70);
  write(tpr, 0x35);
  expect("cr8", cpu::cr8(), 3);
  write(tpr, 0);
  line("cr8_releases");
  seen_count = 0;
  cpu::set_cr8(15);
  self_ipi(0xf0);
  window();
  expect("held", seen_count, 0);
  cpu::set_cr8(0);
  window();
  expect("released", seen_count, 1);
  line("in_service_holds_back");
  seen_count = 0;
  send_eoi = false;
  self_ipi(0x50);
  window();
  self_ipi(0x41);
  window();
  expect("held", seen_count, 1);
  expect("ppr", read(ppr), 0x50);
  send_eoi = true;
  write(eoi, 0);
  window();
  expect("released", seen_count, 2);
  expect("vector", seen[1], 0x41);
}

CASE(software_disabled_apic) {
  enable_apic();
  write(svr, 0xff);
  line("lvt_is_masked");
  write(lvt_timer, 0x40);
  expect("masked", read(lvt_timer) & 0x10000, 0x10000);
  write(svr, 0x1ff);
}

CASE(illegal_vector) {
  if (on_tcg()) return skip("it is delivered");
  enable_apic();
  write(esr, 0);
  self_ipi(0x08);
  write(esr, 0);
  expect("esr", read(esr) & 0x20, 0x20);  // 11.5.3: send illegal vector
  write(esr, 0);
}

// ---- 11.5.4: the timer.
CASE(timer_one_shot) {
  enable_apic();
  write(divide, 0xb);
  write(lvt_timer, 0x40);
  write(initial, 2000);
  expect("came", wait_for(1), 1);
  expect("vector", seen[0], 0x40);
  expect("current", read(current), 0);
  for (unsigned i = 0; i < 100000; i++) window();
  expect("once", seen_count, 1);
}

CASE(timer_periodic) {
  enable_apic();
  write(divide, 0xb);
  write(lvt_timer, 0x20040);
  write(initial, 20000);
  expect("came", wait_for(4), 1);
  line("stops_at_zero");
  write(initial, 0);
  window();
  const unsigned stopped = seen_count;
  for (unsigned i = 0; i < 100000; i++) window();
  expect("further", seen_count - stopped, 0);
}

CASE(timer_masked) {
  enable_apic();
  write(lvt_timer, 0x10040);
  write(divide, 0xb);
  write(initial, 100);
  for (unsigned i = 0; i < 10000; i++) window();
  expect("count", seen_count, 0);
  expect("irr", read(irr + 0x20) & 1, 0);
}

CASE(timer_tsc_deadline) {
  if (!need(cpu::cpuid(1).ecx >> 24 & 1, "tsc_deadline")) return;
  enable_apic();
  write(lvt_timer, 0x40040);
  line("future");
  cpu::wrmsr(msr_deadline, cpu::rdtsc() + 100000);
  expect("armed", cpu::rdmsr(msr_deadline) != 0, 1);
  expect("not_yet", seen_count, 0);
  expect("came", wait_for(1), 1);
  expect("disarmed", cpu::rdmsr(msr_deadline), 0);
  line("already_past");
  seen_count = 0;
  cpu::wrmsr(msr_deadline, cpu::rdtsc() - 1000);
  window();
  expect("count", seen_count, 1);
  expect("disarmed", cpu::rdmsr(msr_deadline), 0);
  line("zero_disarms");
  seen_count = 0;
  cpu::wrmsr(msr_deadline, cpu::rdtsc() + 50000);
  cpu::wrmsr(msr_deadline, 0);
  for (unsigned i = 0; i < 100000; i++) window();
  expect("count", seen_count, 0);
  line("initial_count_is_ignored");
  write(initial, 1000);
  expect("initial", read(initial), 0);
  line("other_mode_reads_zero");
  write(lvt_timer, 0x10040);
  cpu::wrmsr(msr_deadline, cpu::rdtsc() + 1000);
  expect("deadline", cpu::rdmsr(msr_deadline), 0);
  line("deadline_wakes_hlt");
  seen_count = 0;
  write(lvt_timer, 0x40040);
  cpu::wrmsr(msr_deadline, cpu::rdtsc() + 100000);
  asm volatile("sti; hlt; cli" ::: "memory");
  expect("count", seen_count, 1);
}

// ---- HLT (vol. 2A): an interrupt ends it, RIP is after it.
CASE(hlt) {
  enable_apic();
  self_ipi(0x40);
  asm volatile("sti; hlt; cli" ::: "memory");
  expect("count", seen_count, 1);
}

// 6.8.3: interrupts come after the instruction that follows STI; not at all with STI; CLI.
CASE(sti_window) {
  enable_apic();
  static u64 at_rip;
  set_hook(0x41, [](Frame& frame) {
    at_rip = frame.rip - code_va;
    return record(frame);
  });
  line("one_instruction_later");
  self_ipi(0x41);
  run(k, CODE("sti; nop; nop; cli"));
  expect("count", seen_count, 1);
  expect("rip", at_rip, 2);
  line("sti_cli");
  self_ipi(0x41);
  run(k, CODE("sti; cli"));
  expect("count", seen_count, 1);
  line("sti_when_already_on");  // then STI makes no window
  window();
  expect("count", seen_count, 2);
  line("popf_has_no_window");
  self_ipi(0x41);
  run(k, CODE("push 0x202; popf; nop; cli"));
  expect("count", seen_count, 3);
  expect("rip", at_rip, 6);
}

// ---- 6.7: NMI is not masked by IF, and blocked until IRET.
CASE(nmi) {
  enable_apic();
  set_gate(2, stub_of(2), KERNEL_CS, 14, 0, 2);
  line("not_masked_by_if");
  write(icr2, read(id_reg) & 0xff000000);
  write(icr, 0x4400);  // delivery NMI, assert, physical destination
  for (int i = 0; i < 100 && !seen_count; i++) asm volatile("nop");
  expect("count", seen_count, 1);
  expect("vector", seen[0], 2);
  line("blocked_until_iret");
  static unsigned during;
  seen_count = 0;
  set_hook(2, [](Frame&) {
    seen_count = seen_count + 1;
    if (seen_count == 1) {
      write(icr, 0x4400);
      for (int i = 0; i < 100; i++) asm volatile("nop");
      during = seen_count;
    }
    return true;
  });
  write(icr, 0x4400);
  for (int i = 0; i < 100 && seen_count < 2; i++) asm volatile("nop");
  expect("during", during, 1);
  expect("after", seen_count, 2);
  line("not_of_a_bus");  // SERR# and IOCHK# of the chip set's NMI status
  if (on_tcg()) return skip("its machine has no such port");
  expect("sources", cpu::in8(0x61) & 0xc0, 0);
}

// ---- IOAPIC: the UART's interrupt (pin 4) when its transmitter is empty.
CASE(ioapic_uart) {
  enable_apic();
  auto io_write = [](u32 index, u32 v) {
    at<volatile u32>(ioapic_mmio) = index;
    at<volatile u32>(ioapic_mmio + 0x10) = v;
  };
  auto io_read = [](u32 index) {
    at<volatile u32>(ioapic_mmio) = index;
    return at<volatile u32>(ioapic_mmio + 0x10);
  };
  line("version");
  expect("entries", io_read(1) >> 16 & 0xff, 23);
  line("edge");
  io_write(0x10 + 4 * 2 + 1, read(id_reg) & 0xff000000);
  io_write(0x10 + 4 * 2, 0x50);
  cpu::out8(0x3fc, 0x0b);  // OUT2 gates the interrupt
  cpu::out8(0x3f9, 2);     // transmitter empty
  const bool came = wait_for(1);
  const u8 iir = cpu::in8(0x3fa), again = cpu::in8(0x3fa);
  cpu::out8(0x3f9, 0);  // the report itself goes through this UART
  expect("came", came, 1);
  expect("vector", seen[0], 0x50);
  expect("iir_none_after_its_read", (iir & 0x0f) == 1 || (again & 0x0f) == 1, 1);
  line("masked");
  seen_count = 0;
  io_write(0x10 + 4 * 2, 0x10050);
  cpu::out8(0x3f9, 2);
  for (unsigned i = 0; i < 1000; i++) window();
  cpu::out8(0x3f9, 0);
  expect("count", seen_count, 0);
  io_write(0x10 + 4 * 2, 0x10000);
}

// ---- 11.12: x2APIC: the transition is one way but for a reset or through disabled; registers are MSRs.
CASE(x2apic) {
  if (!need(cpu::cpuid(1).ecx >> 21 & 1, "x2apic")) return;
  enable_apic();
  const u64 base = cpu::rdmsr(msr_apic_base);
  line("msr_in_xapic_mode");
  expect_fault(attempt([] { cpu::rdmsr(0x802); }), vec::gp, 0);
  line("enable");
  cpu::wrmsr(msr_apic_base, base | 0xc00);
  expect("base", cpu::rdmsr(msr_apic_base), base | 0xc00);
  line("self_ipi");
  test_self_ipi();
  line("back_to_xapic_directly");
  expect_fault(attempt([&] { cpu::wrmsr(msr_apic_base, (base & ~u64{0x400}) | 0x800); }), vec::gp, 0);
  line("self_ipi_register_is_write_only");
  expect_fault(attempt([] { cpu::rdmsr(0x83f); }), vec::gp, 0);
  line("eoi_takes_zero_only");
  expect_fault(attempt([] { cpu::wrmsr(0x80b, 1); }), vec::gp, 0);
  line("id_is_read_only");
  expect_fault(attempt([] { cpu::wrmsr(0x802, 0); }), vec::gp, 0);
  line("dfr_is_gone");
  expect_fault(attempt([] { cpu::rdmsr(0x80e); }), vec::gp, 0);
  line("reserved_register");
  expect_fault(attempt([] { cpu::rdmsr(0x8ff); }), vec::gp, 0);
  line("ldr_is_derived_from_id");
  const u64 id = cpu::rdmsr(0x802);
  expect("ldr", cpu::rdmsr(0x80d), ((id >> 4) << 16) | (1u << (id & 15)));
  line("nmi_by_icr");
  set_gate(2, stub_of(2), KERNEL_CS, 14, 0, 2);
  seen_count = 0;
  cpu::wrmsr(0x830, (id << 32) | 0x4400);
  for (int i = 0; i < 100 && !seen_count; i++) asm volatile("nop");
  expect("count", seen_count, 1);
  line("through_disabled_to_xapic");
  cpu::wrmsr(msr_apic_base, base & ~u64{0xc00});
  cpu::wrmsr(msr_apic_base, base);
  enable_apic();
  expect("base", cpu::rdmsr(msr_apic_base), base);
  test_self_ipi();
}
