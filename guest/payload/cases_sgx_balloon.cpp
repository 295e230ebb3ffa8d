// A guest gives pages of its EPC back and takes them again by hypercalls (docs/hypercalls.md): only what is free, which
// nothing that is in use can be made to look like.
#include "sgx/machine.hpp"

namespace {

using namespace sgx;

constexpr u64 version = 0x434c'0000, target = 0x434c'0010, give = 0x434c'0011, take = 0x434c'0012;
constexpr u64 fault = ~u64{14} + 1, busy = ~u64{16} + 1, invalid_argument = ~u64{22} + 1;
constexpr unsigned most = 512;

alignas(page_bytes) u64 list[most + 1];

u64 hypercall(u64 number, u64 first = 0, u64 second = 0) {
  u64 rax = number;
  asm volatile("vmcall" : "+a"(rax) : "D"(first), "S"(second) : "memory");
  return rax;
}
u64 call_with(u64 number, unsigned place) {
  list[0] = physical_at(place);
  return hypercall(number, address(list), 1);
}

/// Every use of a page that was given is a page fault with SGX's bit; to an ordinary access there is no memory.
void expect_given(unsigned place) {
  call_encls(arch::EnclsLeaf::epa, static_cast<u64>(arch::PageType::va), epc_at(place));
  execute();
  expect("epa", ending.trap.vector, vec::pf);
  expect("error", ending.trap.error >> 15 & 1, 1);
  expect("at", ending.trap.cr2, epc_at(place));
  call_encls(arch::EnclsLeaf::eremove, 0, epc_at(place));
  execute();
  expect("eremove", ending.trap.vector, vec::pf);
  expect("bytes", at<volatile u64>(epc_at(place)), ~u64{0});
}

/// Gives what must not be given; nothing changes.
void expect_kept(const char* name, unsigned place) {
  const u64 before = fingerprint();
  expect(name, call_with(give, place), busy);
  expect("changed", fingerprint(), before);
}

}  // namespace

CASE(interface) {
  expect("version", hypercall(version), 2);
  const cpu::Cpuid section = cpu::cpuid(0x12, 2);
  expect("target", hypercall(target), ((u64{section.edx & 0xfffff} << 32) | (section.ecx & 0xfffff000)) / page_bytes);
}

CASE(give_and_take) {
  fresh();
  expect("given", call_with(give, spare(0)), 1);
  expect_given(spare(0));
  expect("twice", call_with(give, spare(0)), invalid_argument);
  expect("taken", call_with(take, spare(0)), 1);
  expect("again", call_with(take, spare(0)), invalid_argument);
  epa(spare(0));
  expect("valid", look(spare(0)).status != invalid, 1);
  eremove(spare(0));
  expect("not_given", call_with(take, spare(1)), invalid_argument);
}

CASE(lists) {
  fresh();
  for (unsigned i = 0; i < most; i++) list[i] = physical_at(places + i);
  expect("most", hypercall(give, address(list), most), most);
  for (unsigned i = 0; i < most; i++) list[i] = physical_at(places + most - 1 - i);
  expect("back", hypercall(take, address(list), most), most);
  expect("too_many", hypercall(give, address(list), most + 1), invalid_argument);
  expect("none", hypercall(give, address(list), 0), 0);
  expect("unaligned", hypercall(give, address(list) + 4, 1), invalid_argument);
  expect("no_memory", hypercall(give, 0xf'0000'0000, 1), fault);
  expect("wraps", hypercall(give, ~u64{7}, 2), fault);
  list[0] = physical_at(spare(0));
  list[1] = physical_at(spare(1)) + 8;
  expect("up_to", hypercall(give, address(list), 2), 1);
  expect("odd", hypercall(give, address(list) + 8, 1), invalid_argument);
  expect("back_again", hypercall(take, address(list), 1), 1);
  list[1] = list[0];
  expect("doubled", hypercall(give, address(list), 2), 1);
  expect("and_back", hypercall(take, address(list), 1), 1);
  list[0] = physical_at(0) - page_bytes;
  expect("ram", hypercall(give, address(list), 1), invalid_argument);
  list[0] = physical_at(0) + (u64{1} << 40);
  expect("nowhere", hypercall(give, address(list), 1), invalid_argument);
}

CASE(in_use) {
  fresh();
  launch(0);
  ecreate(1);
  epa(version_array(0));
  expect_kept("secs", secs_of(0));
  expect_kept("empty_secs", secs_of(1));
  expect_kept("tcs", place_of(0, tcs_page));
  expect_kept("reg", place_of(0, data_page));
  expect_kept("read_only", place_of(0, read_only_page));
  expect_kept("va", version_array(0));
  eaug(dynamic_page);
  expect_kept("pending", place_of(0, dynamic_page));
  change_type(second_ssa_page, arch::PageType::trim);
  expect_kept("trim", place_of(0, second_ssa_page));
  restrict_rights(data_page, rights::r);
  expect_kept("restricted", place_of(0, data_page));
  block(place_of(0, output_page));
  expect_kept("blocked", place_of(0, output_page));
  list[0] = physical_at(spare(0));
  list[1] = physical_at(place_of(0, code_page));
  list[2] = physical_at(spare(1));
  expect("first", hypercall(give, address(list), 3), 1);
  expect("rest", look(spare(1)).status, invalid);
  expect("taken", call_with(take, spare(0)), 1);
}

CASE(enclave_goes_on) {
  fresh();
  launch(0);
  expect("given", call_with(give, spare(0)), 1);
  const Trap entered = enter_enclave();
  expect("inside", entered.vector, vec::ud);  // it breaks off
  // A given page behind the enclave's own addresses: the enclave faults as if the page were not in the EPC.
  map_enclave_page(tcs_page, spare(0));
  const Trap without = enter_enclave();
  expect("eenter", without.vector, vec::pf);
  expect("sgx", without.error >> 15 & 1, 1);
  map_enclave_page(tcs_page, place_of(0, tcs_page));
  expect("taken", call_with(take, spare(0)), 1);
}

CASE(other_privilege) {
  const Trap trap = run(Mode::user64, CODE("vmcall"), {.rax = give, .rsi = 1, .rdi = address(list)});
  expect("user", trap.vector, vec::ud);
}
