// Address arithmetic by SDM vol. 1, 3.7.5: segment base + (base + index * scale + displacement) modulo address size.
#include "oracle/cpu/address.hpp"

namespace cloister::oracle {
namespace {

u64 width_mask(unsigned bits) { return bits == 64 ? ~u64{0} : (u64{1} << bits) - 1; }

u64 segment_base(const ZydisDecodedOperand& operand) {
  return operand.mem.segment == ZYDIS_REGISTER_GS ? sandbox::gs_base : 0;
}

bool is_ip(ZydisRegister reg) { return reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP; }

/// Address size of the operand: a stack operand's is the stack's, also where LEAVE reads it through RBP.
unsigned width_of(const Instruction& i, const ZydisDecodedOperand& operand) {
  const int base = number_of(operand.mem.base);
  const bool stack = operand.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && (base == arch::rsp || base == arch::rbp);
  return stack ? (i.bits64 ? 64 : 32) : i.info.address_width;
}

/// XLAT's index is AL.
u64 index_of(const State& state, const ZydisDecodedOperand& operand) {
  const u64 value = state.gpr[static_cast<unsigned>(number_of(operand.mem.index))];
  return (operand.mem.index == ZYDIS_REGISTER_AL ? static_cast<u8>(value) : value) * operand.mem.scale;
}

}  // namespace

u64 pick_target(Random& random, unsigned bytes, unsigned address_width) {
  using namespace sandbox;
  if (bytes == 0) bytes = 8;
  if (bytes > 1024) bytes = 1024;
  const u64 kind = random.below(100);
  const u64 page = data + arch::page_size * (1 + random.below(data_bytes / arch::page_size - 1));
  if (kind < 76) {
    const u64 at = data + random.below(data_bytes - bytes + 1);
    const u64 alignment = (bytes & (bytes - 1)) == 0 && random.percent(bytes >= 16 ? 80 : 40) ? bytes : 1;
    return bytes >= 108 && random.percent(90) ? at & ~u64{63} : at & ~(alignment - 1);
  }
  if (kind < 86) return page - random.below(bytes);
  if (kind < 91) return data_end - random.below(bytes);
  if (kind < 94 || address_width != 64) return data_end + random.below(0x4000);
  if (kind < 96) return random.below(0x10000);
  // Away from the end of the upper half: AMD also checks that the address without the segment base is canonical.
  if (kind < 98) return 0xffff'8100'0000'0000 | (random.next() >> 24);
  return random.next() % 0xffff'0000'0000'0000 + 0x0000'8000'0000'0000;
}

u64 linear_address(const State& state, const Instruction& i, const ZydisDecodedOperand& operand) {
  u64 address = operand.mem.disp.has_displacement ? static_cast<u64>(operand.mem.disp.value) : 0;
  const int base = number_of(operand.mem.base), index = number_of(operand.mem.index);
  if (is_ip(operand.mem.base)) address += state.rip + i.length();
  if (base >= 0) address += state.gpr[base];
  if (index >= 0) address += index_of(state, operand);
  address = (address & width_mask(width_of(i, operand))) + segment_base(operand);
  return i.bits64 ? address : static_cast<u32>(address);
}

void aim(State& state, const Instruction& i, const ZydisDecodedOperand& operand, u64 target, Random& random) {
  const int base = number_of(operand.mem.base), index = number_of(operand.mem.index);
  const u64 mask = width_mask(width_of(i, operand));
  const auto set = [&](int reg, u64 value) { state.gpr[reg] = (value & mask) | (random.next() & ~mask); };
  const u64 displacement = operand.mem.disp.has_displacement ? static_cast<u64>(operand.mem.disp.value) : 0;
  const u64 rest = target - segment_base(operand) - displacement;
  if (base >= 0 && index >= 0) {
    if (base == index) {
      set(base, (rest & mask) / (operand.mem.scale + 1u));
    } else {
      set(base, rest - index_of(state, operand));
    }
  } else if (base >= 0) {
    set(base, rest);
  } else if (index >= 0 && operand.mem.scale != 0) {
    set(index, static_cast<u64>(static_cast<i64>(rest) / operand.mem.scale));
  }
}

}  // namespace cloister::oracle
