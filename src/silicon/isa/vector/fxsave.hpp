// The 512-byte FXSAVE image (SDM vol. 1, 10.5.1 and tables 10-2 and 10-3; the legacy region of XSAVE, 13.4.1).
#pragma once

#include "silicon/isa/insn.hpp"
#include "silicon/state/cpu.hpp"

namespace cloister::silicon {

/// How an instruction writes or reads the image.
struct FxsaveForm {
  bool wide_pointers = true;      ///< FIP and FDP have 64 bits (FXSAVE64), else 32 bits and a selector of 0
  bool sixteen_registers = true;  ///< XMM8 to XMM15 too: 64-bit mode
};

// Parts of the image: the x87 component, MXCSR with its mask, and the XMM registers.
void write_x87_image(const FpuState& fpu, FxsaveForm form, u8* image);
void write_mxcsr_image(u32 mxcsr, u8* image);
void write_xmm_image(const FpuState& fpu, FxsaveForm form, u8* image);
void read_x87_image(FpuState& fpu, FxsaveForm form, const u8* image);
u32 read_mxcsr_image(const u8* image);
void read_xmm_image(FpuState& fpu, FxsaveForm form, const u8* image);

/// FXSAVE64 and FXRSTOR64 as Vcpu::fpu() and set_fpu() see them. Reserved bytes are 0. False: MXCSR has a reserved bit
/// set; nothing was changed.
void write_fxsave(const Cpu& cpu, FxsaveImage& image);
bool read_fxsave(Cpu& cpu, const FxsaveImage& image);

/// An area that is not aligned. An address that is not canonical either comes first, as #SS(0) if the segment is SS.
void raise_misaligned(Cpu& cpu, const Op* op, u64 linear);

/// Among the rows of XSAVE.
std::span<const Row> fxsave_rows();

}  // namespace cloister::silicon
