#include "rows.hpp"

namespace sgx {

namespace {

void print_number(u64 v) {
  if (v >= 10) print_number(v / 10);
  const char digit[] = {static_cast<char>('0' + v % 10), 0};
  print(digit);
}

void print_result(const Result& r) {
  static const char* const operand_names[] = {"RBX", "RCX", "RDX", "SECS", "page"};
  if (r.answer) return print(r.answer);
  if (r.vector == vec::gp) return print("#GP(0)");
  if (r.vector == vec::ud) return print("#UD");
  if (r.vector == vec::nm) return print("#NM");
  if (r.vector == vec::pf) {
    print("#PF(");
    print(operand_names[static_cast<unsigned>(r.at)]);
    print((r.error & 0x8000) ? ") with SGX" : ")");
    return;
  }
  if (r.vector != vec::done) return print("exception");
  if (!r.code) return print("done, RAX and flags unchanged");
  if (!r.flags) return print("RAX = 0");
  print("RAX = ");
  print_number(r.rax);
  print(r.flags == flag::zf ? ", ZF" : ", CF");
}

bool runs(const Row& r) { return r.arrange || r.plan || r.verify; }

void print_row(const Table& leaf, const Row& r) {
  print("ROW ");
  print(leaf.leaf);
  for (const char* text : {r.name, r.condition}) {
    print(" | ");
    print(text);
  }
  print(" | ");
  print_result(r.result);
  print(" | ");
  if (r.unit) {
    print("unit test ");
    print(r.unit);
    print(": ");
    print(r.why);
  } else if (r.bit) {
    print("excluded: ");
    print(r.bit->name);
  } else if (!runs(r)) {
    print("excluded: ");
    print(r.why);
  } else {
    print("payload");
  }
  print("\n");
}

u64 chosen_address;

u64 address_of(Operand operand) {
  switch (operand) {
    case Operand::rbx: return call.rbx;
    case Operand::rcx: return call.rcx;
    case Operand::rdx: return call.rdx;
    case Operand::secs: return operands.pageinfo.secs;
    case Operand::chosen: break;
  }
  return chosen_address;
}

/// `looks_itself`: the row knows better what registers hold, after an entry.
void compare(const Result& wanted, bool looks_itself) {
  const Trap& trap = ending.trap;
  const bool inside = call.door == Door::inside;
  expect("vector", trap.vector, wanted.vector);
  if (looks_itself && call.door == Door::enclu) return;
  if (wanted.vector != vec::done) {
    expect("error", trap.error, wanted.error);
    // An asynchronous exit hides where in the page it was.
    if (wanted.vector == vec::pf) expect("cr2", trap.cr2, address_of(wanted.at) & ~(inside ? 0xffful : 0));
    if (call.mode == Mode::kernel64 || call.mode == Mode::user64)
      expect("rip", trap.offset(), inside ? aep - code_va : 0);
  } else if (trap.vector != vec::done) {
    expect("error", trap.error, 0);
    expect("cr2", trap.cr2, 0);
  }
  const bool exits = inside && call.leaf == static_cast<u64>(arch::EncluLeaf::eexit) && wanted.vector == vec::done;
  if (exits) return;
  expect("rax", ending.rax, wanted.code ? wanted.rax : call.leaf);
  expect("flags", ending.flags & Call::flags, wanted.code ? wanted.flags : Call::flags);
}

/// One case: `first` violated, and `second` too if there is one.
void run_case(const Table& leaf, const Row& first, const Row* second) {
  u64 before;
  unsigned tries = 0;
  do {
    fresh();
    if (second && second->plan) second->plan();
    if (first.plan) first.plan();
    leaf.prepare();
    if (second && second->arrange) second->arrange();
    if (first.arrange) first.arrange();
    before = fingerprint();
    execute();
  } while (thread_was_interrupted() && ++tries < 1000);
  compare(first.result, first.verify);
  if (first.verify) return first.verify();
  expect("unchanged", fingerprint() == before, 1);
}

/// "A/B", in one of a few places.
const char* joined(const char* a, const char* b) {
  static char text[128];
  unsigned n = 0;
  for (; *a && n < sizeof text - 1; n++) text[n] = *a++;
  for (; *b && n < sizeof text - 1; n++) text[n] = *b++;
  text[n] = 0;
  return text;
}

bool same(const Result& a, const Result& b) {
  return a.vector == b.vector && a.error == b.error && (a.vector != vec::pf || a.at == b.at) && a.code == b.code &&
         a.rax == b.rax && a.flags == b.flags;
}

bool is_zero(const Bit& bit) {
  const cpu::Cpuid r = cpu::cpuid(bit.leaf, bit.subleaf);
  const u32 value = bit.reg == 'a' ? r.eax : bit.reg == 'b' ? r.ebx : bit.reg == 'c' ? r.ecx : r.edx;
  return !(value >> bit.bit & 1);
}

}  // namespace

void choose(u64 linear) { chosen_address = linear; }

void walk(const Table& leaf) {
  for (unsigned i = 0; i < leaf.count; i++) print_row(leaf, leaf.rows[i]);
  for (unsigned i = 0; i < leaf.count; i++) {
    const Row& r = leaf.rows[i];
    if (r.bit) {
      line(joined("excluded/", r.name));
      expect("bit_is_zero", is_zero(*r.bit), 1);
    }
    if (!runs(r)) continue;
    line(r.name);
    run_case(leaf, r, nullptr);
    if (r.verify || r.alone) continue;
    unsigned next = i + 1;
    while (next < leaf.count && (!runs(leaf.rows[next]) || same(r.result, leaf.rows[next].result))) next++;
    if (next == leaf.count || leaf.rows[next].verify) continue;
    line(joined("order/", r.name));
    run_case(leaf, r, &leaf.rows[next]);
  }
}

}  // namespace sgx
