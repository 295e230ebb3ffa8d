// Carries a State into the Stepper's processor and back. The FXSAVE image is read and written here by SDM vol. 1,
// table 10-2, independently of the processor's own FXSAVE.
#include "oracle/cpu/software.hpp"

#include <bit>
#include <cstring>

#include "engine_under_test.hpp"
#include "silicon/mmu/mode_change.hpp"
#include "silicon/silicon.hpp"
#include "silicon/state/fpu.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::oracle {

using silicon::Cpu;

namespace {

constexpr u32 data_attributes = 0xc0f3, code32_attributes = 0xc0fb, code64_attributes = 0xa0fb;
constexpr u32 unusable = 1u << 16;

u8* page_of(std::vector<u8>& storage) {
  const u64 at = std::bit_cast<u64>(storage.data());
  return storage.data() + ((arch::page_size - at) & arch::page_mask);
}

void set_segments(Cpu& cpu, bool bits64, const std::array<u16, arch::seg_count>& selectors) {
  for (unsigned i = 0; i < arch::seg_count; ++i) {
    cpu.seg[i] = {selectors[i], 0, 0xffff'ffff, data_attributes};
    if (selectors[i] < 4) cpu.seg[i] = {selectors[i], 0, 0, unusable};
    cpu.seg_base[i] = 0;
  }
  cpu.seg[arch::seg_cs].attributes = bits64 ? code64_attributes : code32_attributes;
  cpu.seg[arch::seg_gs].base = sandbox::gs_base;
  cpu.seg_base[arch::seg_gs] = sandbox::gs_base;
  cpu.gdtr = {sandbox::tables, 63};
  cpu.ldtr = {0, 0, 0, unusable};
  cpu.tr = {0x40, sandbox::tables, 0x67, 0x8b};  // the I/O map's base is beyond the limit
}

void set_fpu(silicon::FpuState& fpu, const FpuImage& image) {
  std::memcpy(static_cast<void*>(fpu.xmm.data()), image.xmm.data(), sizeof image.xmm);
  fpu.mxcsr = image.mxcsr;
  fpu.control = image.control;
  fpu.status = image.status & static_cast<u16>(~(7u << 11));
  fpu.top = static_cast<u8>(image.top());
  fpu.valid = image.valid;
  for (unsigned i = 0; i < 8; ++i) fpu.st[(fpu.top + i) % 8] = {image.st[i].mantissa, image.st[i].sign_exponent};
  fpu.opcode = 0;
  fpu.instruction = fpu.operand = 0;
}

void get_fpu(const silicon::FpuState& fpu, FpuImage& image) {
  std::memcpy(image.xmm.data(), fpu.xmm.data(), sizeof image.xmm);
  image.mxcsr = fpu.mxcsr;
  image.control = fpu.control;
  image.status = static_cast<u16>(fpu.status | (fpu.top << 11));
  image.valid = fpu.valid;
  for (unsigned i = 0; i < 8; ++i) {
    const silicon::Float80& value = fpu.st[(fpu.top + i) % 8];
    image.st[i] = {value.mantissa, value.sign_exponent, {}};
  }
}

}  // namespace

std::array<u64, 8> descriptor_table() {
  return {0,
          0,
          0x00af'9b00'0000'ffff,  // 0x10: kernel code
          0x00cf'9300'0000'ffff,  // 0x18: kernel data
          0x00cf'fb00'0000'ffff,  // 0x23: user code, 32 bits
          0x00cf'f300'0000'ffff,  // 0x2b: user data
          0x00af'fb00'0000'ffff,  // 0x33: user code, 64 bits
          0};
}

Software::Software()
    : storage_(sandbox::bytes + arch::page_size),
      memory_(page_of(storage_), sandbox::bytes),
      stepper_(sandbox::base, memory_, engine_under_test()) {}

Outcome Software::run(const State& state, bool bits64) {
  Cpu& cpu = stepper_.cpu();
  stepper_.set_mode(bits64 ? silicon::CodeMode::bits64 : silicon::CodeMode::compat32);
  set_segments(cpu, bits64, state.seg);
  for (unsigned i = 0; i < 16; ++i) cpu.gpr[i] = state.gpr[i];
  set_rflags(cpu, state.rflags);
  set_fpu(cpu.fpu, state.fpu);
  std::memcpy(static_cast<void*>(cpu.fpu.upper.data()), state.upper.data(), sizeof state.upper);
  if (silicon::host_features().avx) cpu.xcr0 = 7;
  update_fpu_blocks(cpu);
  stepper_.set_rip(state.rip);

  const silicon::Stepper::Result result = stepper_.step();

  Outcome outcome{state, std::nullopt, 0, 0};
  for (unsigned i = 0; i < 16; ++i) outcome.state.gpr[i] = cpu.gpr[i];
  outcome.state.rip = cpu.rip;
  outcome.state.rflags = cpu.rflags();
  get_fpu(cpu.fpu, outcome.state.fpu);
  std::memcpy(outcome.state.upper.data(), cpu.fpu.upper.data(), sizeof outcome.state.upper);
  for (unsigned i = 0; i < arch::seg_count; ++i) outcome.state.seg[i] = cpu.seg[i].selector;
  if (result.exited) outcome.vector = 0xff;
  if (result.fault) {
    outcome.vector = result.fault->vector;
    outcome.error = result.fault->error;
    if (result.fault->vector == arch::vector::pf) outcome.cr2 = result.fault_address;
  }
  return outcome;
}

}  // namespace cloister::oracle
