// XCHG, XADD and CMPXCHG (isa/integer/atomic.cpp), with LOCK by the host's atomics.
#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

/// With memory it locks, with or without the prefix (SDM vol. 3A, 9.1.2.1); so does the host's.
void Translator::exchange(const Op& op, const Form& form) {
  const u8 bytes = form.bytes, src = number(op.src, bytes);
  if (form.operands == Operands::mem_reg) {
    const Address a = access(op, form.memory, bytes, true, bytes);
    return into(src, bytes, true, true, [&](HostReg r) { e_.op(bytes == 1 ? 0x86 : 0x87, r, a, Encoder::all(bytes)); });
  }
  e_.mov(scratch, place(op.dst), bytes);
  e_.mov(second_scratch, place(op.src), bytes);
  put(op.dst, second_scratch);
  put(op.src, scratch);
}

void Translator::exchange_add(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes;
  const Address a = access(op, form.memory, bytes, true, atomic_alignment(form));
  into(number(op.src, bytes), bytes, true, true, [&](HostReg r) {
    lock(form);
    e_.op(bytes == 1 ? 0x0fc0 : 0x0fc1, r, a, Encoder::all(bytes));
  });
  set_flags(k);
}

/// The accumulator changes only if the values differ.
void Translator::compare_exchange(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes;
  constexpr HostReg accumulator = host_of[arch::rax];
  const Address a = access(op, form.memory, bytes, true, atomic_alignment(form));
  e_.mov(rax, accumulator);
  lock(form);
  e_.op(bytes == 1 ? 0x0fb0 : 0x0fb1, host_of[number(op.src, bytes)], a, Encoder::all(bytes));
  e_.op(0x0f45, accumulator, rax);  // cmovne
  set_flags(k);
}

}  // namespace cloister::silicon
