// Leaving the handlers: see dispatch.hpp.
#include "silicon/state/dispatch.hpp"

namespace cloister::silicon {

namespace {
/// In a block that a store made stale: leaves for the run loop before this instruction.
void op_poisoned(Cpu& cpu, const Op* op) { return again(cpu, op); }
}  // namespace

void raise(Cpu& cpu, const Op* op, Fault fault) {
  cpu.at = op;
  cpu.fault = fault;
  cpu.leave = Leave::fault;
}

void leave_after(Cpu& cpu, const Op* op) {
  cpu.at = op + 1;
  cpu.rip = cpu.rip_after(op);
  cpu.leave = Leave::jump;
}

void again(Cpu& cpu, const Op* op) {
  cpu.at = op;
  cpu.rip = cpu.rip_of(op);
  cpu.leave = Leave::jump;
}

void part_done(Cpu& cpu, const Op* op) {
  again(cpu, op);
  cpu.leave = Leave::part;
}

void vm_exit(Cpu& cpu, const Op* op) {
  cpu.at = op;
  cpu.exit.instruction_length = op->length;
  cpu.leave = Leave::exit;
}

void poison_if_stale(Block& block) {
  if (!block.stale() && !block.second_stale()) return;
  for (Op& op : block.ops) op.handler = op_poisoned;
}

}  // namespace cloister::silicon
