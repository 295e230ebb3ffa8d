// The two operands' faults, each for itself.
#include "oracle/cpu/fault_order.hpp"

namespace cloister::oracle {
namespace {

constexpr u8 cmpsb = 0xa6, lodsb = 0xac, scasb = 0xae;

bool same_fault(const Outcome& a, const Outcome& b) {
  return a.vector == b.vector && a.error == b.error && a.cr2 == b.cr2;
}

}  // namespace

std::optional<Operand> reported_first(const Instruction& i, const Outcome& fault, const Run& run) {
  // Neither has a ModRM byte or an immediate: the opcode is the last byte, and its lowest bit the operand size's.
  if (i.info.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || (i.info.opcode & 0xfe) != cmpsb) return std::nullopt;
  if (!fault.vector) return std::nullopt;
  const auto alone = [&](u8 opcode) {
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> code = i.bytes;
    code[i.length() - 1] = static_cast<u8>(opcode | (i.info.opcode & 1));
    return run(fault.state, {code.data(), i.length()});
  };
  const Outcome source = alone(lodsb), destination = alone(scasb);
  if (!source.vector || !destination.vector) return std::nullopt;
  if (same_fault(fault, source)) return Operand::source;
  if (same_fault(fault, destination)) return Operand::destination;
  return std::nullopt;
}

}  // namespace cloister::oracle
