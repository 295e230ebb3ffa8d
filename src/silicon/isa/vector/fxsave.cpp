// The FXSAVE image, and the instructions FXSAVE, FXRSTOR, LDMXCSR and STMXCSR: see fxsave.hpp.
#include "silicon/isa/vector/fxsave.hpp"

#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector_access.hpp"
#include "silicon/isa/x87/x87.hpp"
#include "silicon/state/processor.hpp"

namespace cloister::silicon {
namespace {

enum Offset : unsigned {
  fcw = 0,
  fsw = 2,
  ftw = 4,
  fop = 6,
  fip = 8,
  fdp = 16,
  mxcsr_at = 24,
  mask_at = 28,
  st = 32,
  xmm = 160
};

template <class T>
void put(u8* image, unsigned at, T value) {
  std::memcpy(image + at, &value, sizeof value);
}
template <class T>
T take(const u8* image, unsigned at) {
  T value;
  std::memcpy(&value, image + at, sizeof value);
  return value;
}

unsigned register_count(FxsaveForm form) { return form.sixteen_registers ? 16 : 8; }

}  // namespace

void write_x87_image(const FpuState& fpu, FxsaveForm form, u8* image) {
  put<u16>(image, fcw, fpu.control);
  put<u16>(image, fsw, x87_status_word(fpu));
  put<u16>(image, ftw, fpu.valid);
  put<u16>(image, fop, fpu.opcode);
  put<u64>(image, fip, form.wide_pointers ? fpu.instruction : static_cast<u32>(fpu.instruction));
  put<u64>(image, fdp, form.wide_pointers ? fpu.operand : static_cast<u32>(fpu.operand));
  for (unsigned i = 0; i < 8; ++i) {
    const Float80& v = fpu.st[x87_physical(fpu, i)];
    put<u64>(image, st + 16 * i, v.mantissa);
    put<u64>(image, st + 16 * i + 8, v.sign_exponent);
  }
}

void write_mxcsr_image(u32 value, u8* image) {
  put<u32>(image, mxcsr_at, value);
  put<u32>(image, mask_at, mxcsr::defined);
}

void write_xmm_image(const FpuState& fpu, FxsaveForm form, u8* image) {
  std::memcpy(image + xmm, fpu.xmm.data(), 16 * register_count(form));
}

void read_x87_image(FpuState& fpu, FxsaveForm form, const u8* image) {
  x87_set_control(fpu, take<u16>(image, fcw));
  x87_set_status_word(fpu, take<u16>(image, fsw));
  fpu.valid = take<u8>(image, ftw);
  fpu.opcode = take<u16>(image, fop) & 0x7ff;
  fpu.instruction = form.wide_pointers ? take<u64>(image, fip) : take<u32>(image, fip);
  fpu.operand = form.wide_pointers ? take<u64>(image, fdp) : take<u32>(image, fdp);
  for (unsigned i = 0; i < 8; ++i) {
    fpu.st[x87_physical(fpu, i)] = {take<u64>(image, st + 16 * i), take<u16>(image, st + 16 * i + 8)};
  }
}

u32 read_mxcsr_image(const u8* image) { return take<u32>(image, mxcsr_at); }

void read_xmm_image(FpuState& fpu, FxsaveForm form, const u8* image) {
  std::memcpy(static_cast<void*>(fpu.xmm.data()), image + xmm, 16 * register_count(form));
}

void write_fxsave(const Cpu& cpu, FxsaveImage& image) {
  image.fill(0);
  write_x87_image(cpu.fpu, {}, image.data());
  write_mxcsr_image(guest_mxcsr(cpu), image.data());
  write_xmm_image(cpu.fpu, {}, image.data());
}

bool read_fxsave(Cpu& cpu, const FxsaveImage& image) {
  const u32 value = read_mxcsr_image(image.data());
  if ((value & ~mxcsr::defined) != 0) return false;
  read_x87_image(cpu.fpu, {}, image.data());
  read_xmm_image(cpu.fpu, {}, image.data());
  set_guest_mxcsr(cpu, value);
  return true;
}

// ------------------------------------------------------------------------------------------------ instructions

void raise_misaligned(Cpu& cpu, const Op* op, u64 linear) {
  if (cpu.code64 && op->seg == arch::seg_ss && !is_canonical(linear)) return raise_ss(cpu, op);
  raise_gp(cpu, op);
}

namespace {

/// In Op::dst: FXSAVE64 and FXRSTOR64.
FxsaveForm form_of(const Cpu& cpu, const Op* op) { return {op->dst != 0, cpu.code64}; }

/// The part of the image that the processor does not own (bytes 511:416; 32-bit modes: 511:288) stays as it is.
void fxsave(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  {
    FxsaveImage image;
    u64 linear = 0;
    if (!operand_address<From::memory>(cpu, op, sizeof image, Access::write, linear)) return;
    if (linear % 16 != 0) return raise_misaligned(cpu, op, linear);
    if (!load_for_store_slow(cpu, op, linear, image.data(), sizeof image)) return;
    const FxsaveForm form = form_of(cpu, op);
    write_x87_image(cpu.fpu, form, image.data());
    write_mxcsr_image(guest_mxcsr(cpu), image.data());
    write_xmm_image(cpu.fpu, form, image.data());
    if (!store_slow(cpu, op, linear, image.data(), sizeof image)) return;
  }
  CLOISTER_NEXT(cpu, op);
}

void fxrstor(Cpu& cpu, const Op* op) {
  if (!x87_present(cpu, op)) return;
  {
    FxsaveImage image;
    u64 linear = 0;
    if (!operand_address<From::memory>(cpu, op, sizeof image, Access::read, linear)) return;
    if (linear % 16 != 0) return raise_misaligned(cpu, op, linear);
    if (!load_slow(cpu, op, linear, image.data(), sizeof image)) return;
    const u32 value = read_mxcsr_image(image.data());
    if ((value & ~mxcsr::defined) != 0) return raise_gp(cpu, op);
    const FxsaveForm form = form_of(cpu, op);
    read_x87_image(cpu.fpu, form, image.data());
    read_xmm_image(cpu.fpu, form, image.data());
    set_guest_mxcsr(cpu, value);
  }
  CLOISTER_NEXT(cpu, op);
}

void ldmxcsr(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  {
    u32 value;
    if (!read_operand<From::memory>(cpu, op, value)) return;
    if ((value & ~mxcsr::defined) != 0) return raise_gp(cpu, op);
    set_guest_mxcsr(cpu, value);
  }
  CLOISTER_NEXT(cpu, op);
}

void stmxcsr(Cpu& cpu, const Op* op) {
  if (cpu.fpu.sse_blocked) [[unlikely]]
    return sse_unavailable(cpu, op);
  if (!write_operand<From::memory>(cpu, op, guest_mxcsr(cpu))) return;
  CLOISTER_NEXT(cpu, op);
}

template <Handler handler, bool wide = false>
Selected select(const Insn& insn, Op& op) {
  if (!is_legacy(insn) || !insn.has_memory) return {};
  op.dst = wide ? 1 : 0;
  note_address(insn, op);
  return {handler};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_FXSAVE, select<&fxsave>},   {ZYDIS_MNEMONIC_FXSAVE64, select<&fxsave, true>},
    {ZYDIS_MNEMONIC_FXRSTOR, select<&fxrstor>}, {ZYDIS_MNEMONIC_FXRSTOR64, select<&fxrstor, true>},
    {ZYDIS_MNEMONIC_LDMXCSR, select<&ldmxcsr>}, {ZYDIS_MNEMONIC_STMXCSR, select<&stmxcsr>},
};

}  // namespace

std::span<const Row> fxsave_rows() { return rows; }

}  // namespace cloister::silicon
