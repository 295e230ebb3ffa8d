// A thread that stays in an enclave while this processor does what it likes.
#include "machine.hpp"

extern "C" const u8 second_start[], second_start_end[];
extern "C" u64 second_registers[6];
extern "C" volatile u32 second_started, second_out;

namespace sgx {

namespace {

constexpr u64 start_page = 0x8000;                                      // the start-up IPI's vector is 8
constexpr u64 apic_icr_low = 0xfee0'0300, apic_icr_high = 0xfee0'0310;  // SDM vol. 3A, 10.6.1
// A page of user mode: code, and the words that the thread looks at and counts in.
constexpr u64 second_code = data_va + 0x3000, second_aep = second_code + 0x20, go_word = second_code + 0x100,
              interruptions = second_code + 0x108;

void send(u32 command) {
  if (cpu::rdmsr(0x1b) >> 10 & 1) return cpu::wrmsr(0x830, u64{1} << 32 | command);  // x2APIC
  at<volatile u32>(apic_icr_high) = 1u << 24;
  at<volatile u32>(apic_icr_low) = command;
}
bool sent;
u64 interruptions_before;
bool is_inside() { return (peek(place_of(0, second_tcs_page), 0) & 1) != 0; }

}  // namespace

void send_thread_inside() {
  memcpy(reinterpret_cast<void*>(start_page), second_start, static_cast<u64>(second_start_end - second_start));
  // EENTER, and where it comes out; at the AEP: count, ERESUME.
  const Code code = CODE(
      "1: .byte 0x0f, 0x01, 0xd7; syscall;"
      ".org 1b + 0x20; inc qword ptr [rip + 1b + 0x108]; .byte 0x0f, 0x01, 0xd7");
  memcpy(reinterpret_cast<void*>(physical_of(second_code)), code.begin, static_cast<u64>(code.end - code.begin));
  at(go_word) = at(interruptions) = 0;
  second_started = 0;
  second_out = 0;
  sent = true;
  const u64 registers[] = {cpu::cr3(),       in_enclave(second_tcs_page), second_aep, go_word, second_code,
                           stack_va + 0x1000};
  memcpy(second_registers, registers, sizeof registers);
  send(0x4500);  // INIT
  // A start-up IPI that comes before the processor has taken INIT is lost.
  while (!second_started) {
    send(0x4600 | start_page >> 12);
    for (unsigned i = 0; i < 2000 && !second_started; i++) asm volatile("pause");
  }
  do {
    interruptions_before = at<volatile u64>(interruptions);
  } while (!is_inside());
}

/// In this order: a thread that is back inside has counted.
bool thread_was_interrupted() {
  return sent && (!is_inside() || at<volatile u64>(interruptions) != interruptions_before);
}

void bring_thread_out() {
  if (!sent) return;
  sent = false;
  at(go_word) = 1;
  while (!second_out) asm volatile("pause");
}

}  // namespace sgx
