// One broadcast starts all: INIT, then a start-up IPI (SDM vol. 3A, 8.4.4.1).
#include "processors.hpp"

#include "resident.hpp"

extern "C" const u8 startup_begin[], startup_end[];

namespace {

constexpr u64 startup_page = 0x8000;
constexpr u32 icr = 0x300, all_but_self = 0xc0000, assert_init = 0x4500, startup = 0x4600;

void (*work)(unsigned);
Gate __attribute__((aligned(16))) gates[256];

}  // namespace

extern "C" void processor_main(unsigned number) {
  cpu::wrmsr(0x1b, cpu::rdmsr(0x1b) | 0xc00);  // x2APIC: the tables here do not map the APIC's page
  const cpu::TableRegister idtr{sizeof gates - 1, reinterpret_cast<u64>(gates)};
  asm volatile("lidt %0" ::"m"(idtr));
  resident::prepare_timer();
  for (;;) {
    work(number);
    resident::sleep();
  }
}

unsigned processors::count() { return cpu::cpuid(1).ebx >> 16 & 0xff; }

void processors::start(void (*function)(unsigned)) {
  work = function;
  for (unsigned i = 0; i < 256; i++) gates[i] = idt[i];
  gates[8].low &= ~(u64{7} << 32);  // no TSS, so no stack of the double fault's own
  for (const u8* byte = startup_begin; byte != startup_end; byte++)
    at<volatile u8>(startup_page + static_cast<u64>(byte - startup_begin)) = *byte;
  resident::write_apic(icr, all_but_self | assert_init);
  resident::write_apic(icr, all_but_self | startup | startup_page >> 12);
}
