// INT n, INT3, INTO and INT1 (SDM vol. 2A, INT n/INTO/INT3/INT1).
#include "silicon/isa/system/system_op.hpp"

namespace cloister::silicon {

namespace v = arch::vector;

namespace {

void software_event(Cpu& cpu, const Op* op, u8 vector, EventType type) {
  cpu.at = op;
  cpu.event = {vector, type, false, 0, op->length};
  cpu.leave = Leave::software_event;
}

void op_int(Cpu& cpu, const Op* op) {
  return software_event(cpu, op, static_cast<u8>(op->imm), EventType::software_interrupt);
}
void op_int3(Cpu& cpu, const Op* op) {
  // In an enclave it is a fault: #UD after an opt-out entry, else #BP (SDM vol. 3D, 40.3.4).
  if (cpu.enclave.active) return raise(cpu, op, {cpu.enclave.opt_out ? v::ud : v::bp, false, 0, 0});
  return software_event(cpu, op, v::bp, EventType::software_exception);
}
void op_into(Cpu& cpu, const Op* op) {
  if (cpu.flags.of()) return software_event(cpu, op, v::of, EventType::software_exception);
  return leave_after(cpu, op);
}
void op_int1(Cpu& cpu, const Op* op) { return software_event(cpu, op, v::db, EventType::privileged_software); }

Selected select_int(const Insn& insn, Op& op) {
  op.imm = insn.imm(0) & 0xff;
  return {op_int, true};
}
template <Handler handler>
Selected select_plain(const Insn&, Op&) {
  return {handler, true};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_INT, select_int},
    {ZYDIS_MNEMONIC_INT3, select_plain<op_int3>},
    {ZYDIS_MNEMONIC_INTO, select_plain<op_into>},
    {ZYDIS_MNEMONIC_INT1, select_plain<op_int1>},
};

}  // namespace

std::span<const Row> software_interrupt_rows() { return rows; }

}  // namespace cloister::silicon
