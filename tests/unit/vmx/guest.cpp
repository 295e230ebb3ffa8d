#include "guest.hpp"

namespace cloister::vmx {

namespace {

constexpr u64 table_flags = arch::pte::p | arch::pte::rw | arch::pte::us;
constexpr u8 halt = 0xf4;

/// An interrupt gate of 64-bit mode at CPL 0 (SDM vol. 3A, figure 6-8).
struct Gate {
  u16 offset_low, selector;
  u8 ist, type;
  u16 offset_middle;
  u32 offset_high, reserved;
};
static_assert(sizeof(Gate) == 16);

/// Present, with what a processor that has loaded it would have in its hidden part.
constexpr u32 code64 = 0xa09b, code32 = 0xc09b, code16 = 0x9b, data32 = 0xc093, data16 = 0x93, busy_tss = 0x8b;
constexpr u32 dpl3 = 3u << 5, unusable = 1u << 16;
constexpr u32 flat = 0xffff'ffff;

SystemRegs with_segments(Segment cs, Segment others) {
  SystemRegs s;
  s.seg.fill(others);
  s.seg[arch::seg_cs] = cs;
  s.ldtr = {0, 0, 0, unusable};
  s.tr = {tss_selector, tss, 0x67, busy_tss};
  s.gdtr = {gdt, 0x3f};
  s.idtr = {idt, 0xfff};
  s.cr0 = arch::cr0::pe | arch::cr0::et | arch::cr0::ne;
  return s;
}

}  // namespace

Guest::Guest(Package& package) : package_(package), memory_(package.make_memory()) {
  EXPECT_TRUE(memory_->map_ram(Gpa{0}, ram_bytes));
  for (unsigned level = 0; level < 3; ++level) {
    const u64 at = tables + level * arch::page_size;
    put<u64>(at, (at + arch::page_size) | table_flags);
  }
  for (u64 page = 0; page < mapped_bytes; page += arch::page_size) map(page, page | table_flags);
  // Code of 64-bit mode, data, a gap, user code and data, a TSS of 32-bit mode (SDM vol. 3A, 3.4.5 and 7.2.2).
  constexpr u64 descriptors[] = {0,
                                 0x00af'9b00'0000'ffff,
                                 0x00cf'9300'0000'ffff,
                                 0x00af'fb00'0000'ffff,
                                 0x00cf'f300'0000'ffff,
                                 0x0000'8900'5800'0067};
  put(gdt, descriptors);
  put<u16>(tss + 102, 0x68);  // the I/O permission bitmap: none, within the limit (SDM vol. 1, 19.5.2)
  for (unsigned vector = 0; vector < 256; ++vector) {
    const auto handler = static_cast<u32>(handler_of(static_cast<u8>(vector)));
    put(idt + vector * sizeof(Gate),
        Gate{static_cast<u16>(handler), code_selector, 0, 0x8e, static_cast<u16>(handler >> 16), 0, 0});
    put(handler, halt);
  }
}

std::unique_ptr<Vcpu> Guest::processor(Vcpu::Config config) {
  auto vcpu = package_.make_vcpu(*memory_, config);
  vcpu->set_system(long_mode());
  GeneralRegs general;
  general.rip = code;
  general.gpr[arch::rsp] = stack;
  vcpu->set_general(general);
  return vcpu;
}

void Guest::put_bytes(u64 at, std::span<const u8> bytes) {
  EXPECT_TRUE(memory_->write(Gpa{at}, std::as_bytes(bytes))) << std::hex << at;
}

SystemRegs long_mode() {
  SystemRegs s = with_segments({code_selector, 0, flat, code64}, {data_selector, 0, flat, data32});
  s.cr0 |= arch::cr0::pg | arch::cr0::wp;
  s.cr3 = tables;
  s.cr4 = arch::cr4::pae | arch::cr4::osfxsr | arch::cr4::osxsave;
  s.efer = arch::efer::lme | arch::efer::lma;
  return s;
}

SystemRegs user_mode() {
  SystemRegs s = long_mode();
  s.seg.fill({0x23, 0, flat, data32 | dpl3});
  s.seg[arch::seg_cs] = {0x1b, 0, flat, code64 | dpl3};
  return s;
}

SystemRegs protected_mode() {
  return with_segments({code_selector, 0, flat, code32}, {data_selector, 0, flat, data32});
}

SystemRegs real_mode() {
  SystemRegs s = with_segments({0, 0, 0xffff, code16}, {0, 0, 0xffff, data16});
  s.cr0 = arch::cr0::et | arch::cr0::ne;
  return s;
}

Exit OneProcessor::run_at(u64 where, GeneralRegs regs) {
  regs.rip = where;
  if (regs.gpr[arch::rsp] == 0) regs.gpr[arch::rsp] = stack;
  vcpu_->set_general(regs);
  return resume();
}

void OneProcessor::complete(const Exit& exit) {
  GeneralRegs regs = vcpu_->general();
  regs.rip += exit.instruction_length;
  vcpu_->set_general(regs);
  vcpu_->clear_interrupt_shadow();
}

void OneProcessor::expect_halt_at(const Exit& exit, u64 where) const {
  EXPECT_EQ(exit.reason, ExitReason::hlt) << vmx::name_of(exit.reason);
  EXPECT_EQ(rip(), where);
}

Frame OneProcessor::expect_delivered(const Exit& exit, u8 vector, std::optional<u32> error) {
  expect_halt_at(exit, handler_of(vector));
  const u64 rsp = reg(arch::rsp);
  const u64 frame = rsp + (error ? 8 : 0);
  EXPECT_EQ(frame, stack - sizeof(Frame));
  if (error) {
    EXPECT_EQ(guest_.get<u64>(rsp), *error);
  }
  return guest_.get<Frame>(stack - sizeof(Frame));
}

void OneProcessor::intercept(std::initializer_list<u8> vectors) {
  Controls controls;
  for (const u8 vector : vectors) controls.exception_bitmap |= u32{1} << vector;
  vcpu_->set_controls(controls);
}

std::string name_of_row(const testing::TestParamInfo<Implementation>& row) { return row.param.name; }

}  // namespace cloister::vmx
