// Zydis' registers are named; the guest's are numbered in encoding order. Register widths follow SDM vol. 1, 3.4.1.1.
#include "hypervisor/instruction.hpp"

#include <fmt/format.h>

namespace cloister::hypervisor {
namespace {

using arch::Gva;
using vmx::GeneralRegs;
using vmx::SystemRegs;

constexpr u32 attribute_long = 1u << 13, attribute_big = 1u << 14;

u64 low_bits(u64 value, unsigned bits) { return bits >= 64 ? value : value & ((u64{1} << bits) - 1); }

bool is_high_byte(ZydisRegister reg) { return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH; }

/// The number of the general register that `reg` is or is a part of.
unsigned number_of(ZydisRegister reg) {
  if (is_high_byte(reg)) return static_cast<unsigned>(reg - ZYDIS_REGISTER_AH);
  const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
  return static_cast<unsigned>(whole - ZYDIS_REGISTER_RAX) & 15u;
}

unsigned width_of(ZydisRegister reg) { return ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg); }

/// Changes the low `bits` of a register as address arithmetic does: 32 bits clear the upper half.
void set_low(u64& reg, u64 value, unsigned bits) {
  if (bits == 16) {
    reg = (reg & ~u64{0xffff}) | (value & 0xffff);
  } else {
    reg = low_bits(value, bits);
  }
}

}  // namespace

unsigned code_bits(const SystemRegs& system) {
  const u32 attributes = system.seg[arch::seg_cs].attributes;
  if ((system.efer & arch::efer::lma) != 0 && (attributes & attribute_long) != 0) return 64;
  return (system.cr0 & arch::cr0::pe) != 0 && (attributes & attribute_big) != 0 ? 32 : 16;
}

Gva linear_rip(const GeneralRegs& general, const SystemRegs& system) {
  if (code_bits(system) == 64) return Gva{general.rip};
  return Gva{(system.seg[arch::seg_cs].base + general.rip) & 0xffff'ffff};
}

std::optional<Instruction> decode(std::span<const u8> bytes, unsigned bits) {
  ZydisDecoder decoder;
  const auto mode = bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
                    : bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
                                 : ZYDIS_MACHINE_MODE_LONG_COMPAT_16;
  const auto stack = bits == 64 ? ZYDIS_STACK_WIDTH_64 : bits == 32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16;
  Instruction insn;
  if (!ZYAN_SUCCESS(ZydisDecoderInit(&decoder, mode, stack)) ||
      !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &insn.info, insn.operand)))
    return std::nullopt;
  return insn;
}

std::string disassemble(std::span<const u8> bytes, unsigned bits, u64 rip) {
  if (const auto insn = decode(bytes, bits)) {
    ZydisFormatter formatter;
    char text[128];
    if (ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)) &&
        ZYAN_SUCCESS(ZydisFormatterFormatInstruction(
            &formatter, &insn->info, insn->operand, insn->info.operand_count_visible, text, sizeof text, rip, nullptr)))
      return text;
  }
  if (bytes.empty()) return "(no bytes)";
  return fmt::format("({:02x})", fmt::join(bytes, " "));
}

u64 read_register(const GeneralRegs& general, ZydisRegister reg) {
  const u64 whole = general.gpr[number_of(reg)];
  return is_high_byte(reg) ? (whole >> 8) & 0xff : low_bits(whole, width_of(reg));
}

void write_register(GeneralRegs& general, ZydisRegister reg, u64 value) {
  u64& whole = general.gpr[number_of(reg)];
  const unsigned width = width_of(reg);
  if (is_high_byte(reg)) {
    whole = (whole & ~u64{0xff00}) | ((value & 0xff) << 8);
  } else if (width >= 32) {
    whole = low_bits(value, width);
  } else {
    const u64 mask = (u64{1} << width) - 1;
    whole = (whole & ~mask) | (value & mask);
  }
}

u64 segment_base(ZydisRegister segment, const SystemRegs& system) {
  // Zydis lists ES, CS, SS, DS, FS, GS as the encoding does.
  if (segment < ZYDIS_REGISTER_ES || segment > ZYDIS_REGISTER_GS) return 0;
  const bool adds = code_bits(system) != 64 || segment >= ZYDIS_REGISTER_FS;
  return adds ? system.seg[static_cast<unsigned>(segment - ZYDIS_REGISTER_ES)].base : 0;
}

Gva operand_address(const Instruction& insn, unsigned i, const GeneralRegs& general, const SystemRegs& system) {
  const auto& mem = insn.operand[i].mem;
  u64 offset = mem.disp.has_displacement ? static_cast<u64>(mem.disp.value) : 0;
  if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP) {
    offset += general.rip + insn.info.length;
  } else if (mem.base != ZYDIS_REGISTER_NONE) {
    offset += read_register(general, mem.base);
  }
  if (mem.index != ZYDIS_REGISTER_NONE) offset += read_register(general, mem.index) * (mem.scale ? mem.scale : 1u);
  offset = low_bits(offset, insn.info.address_width);
  const u64 linear = segment_base(mem.segment, system) + offset;
  return Gva{code_bits(system) == 64 ? linear : linear & 0xffff'ffff};
}

void step_index(GeneralRegs& general, arch::Gpr index, unsigned address_bits, unsigned bytes) {
  u64& reg = general.gpr[index];
  set_low(reg, (general.rflags & arch::rflags::df) != 0 ? reg - bytes : reg + bytes, address_bits);
}

u64 repeat_count(const GeneralRegs& general, unsigned address_bits) {
  return low_bits(general.gpr[arch::rcx], address_bits);
}

bool count_down(GeneralRegs& general, unsigned address_bits) {
  set_low(general.gpr[arch::rcx], general.gpr[arch::rcx] - 1, address_bits);
  return repeat_count(general, address_bits) == 0;
}

}  // namespace cloister::hypervisor
