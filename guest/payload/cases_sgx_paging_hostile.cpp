// What a kernel may do to who pages its EPC behind its back: it keeps its pages blocked, gives one enclave thousands of
// children, uses slots twice, and moves its mappings while a leaf that exits is at work. All of it is allowed, and what
// it finds is what it would find without a pager; only itself it slows.
#include "processors.hpp"
#include "sgx/machine.hpp"

namespace {

using namespace sgx;

constexpr unsigned first =
    2048;  // a place that nothing else uses, of an EPC that is larger than any frames that there are

alignas(page_bytes) u8 source[page_bytes];
alignas(page_bytes) u8 image[2][page_bytes];
alignas(128) arch::Pcmd pcmd[2];
alignas(64) arch::Secinfo secinfo;
alignas(32) arch::Pageinfo pageinfo;

void create(unsigned place) {
  memset(source, 0, page_bytes);
  auto& secs = *reinterpret_cast<arch::Secs*>(source);
  secs.size = u64{8192} * page_bytes;
  secs.base = u64{1} << 32;
  secs.ssa_frame_size = 1;
  secs.attributes = {arch::attributes::mode64bit | arch::attributes::debug, 3};
  secinfo = {};
  pageinfo = {.linaddr = 0, .srcpge = address(source), .secinfo = address(&secinfo), .secs = 0};
  encls(arch::EnclsLeaf::ecreate, address(&pageinfo), epc_at(place));
}

void prepare_add(unsigned place, unsigned secs) {
  at(address(source)) = place;
  secinfo = {.flags = type_reg | rights::r | rights::w, .reserved = {}};
  pageinfo = {.linaddr = (u64{1} << 32) + (place - secs) * page_bytes,
              .srcpge = address(source),
              .secinfo = address(&secinfo),
              .secs = epc_at(secs)};
}
/// Children of the SECS before them.
void add(unsigned place, unsigned secs) {
  prepare_add(place, secs);
  encls(arch::EnclsLeaf::eadd, address(&pageinfo), epc_at(place));
}

u64 remove(unsigned place) { return encls(arch::EnclsLeaf::eremove, 0, epc_at(place)).rax; }
/// Those of the places that could not be removed.
unsigned remove_all(unsigned from, unsigned pages) {
  unsigned left = 0;
  for (unsigned i = pages; i-- > 0;) left += remove(from + i) != 0;
  return left;
}

u64 write_out(unsigned place, unsigned array, unsigned slot, unsigned which) {
  pageinfo = {.linaddr = 0, .srcpge = address(image[which]), .secinfo = address(&pcmd[which]), .secs = 0};
  return encls(arch::EnclsLeaf::ewb, address(&pageinfo), epc_at(place), epc_at(array) + slot * 8).rax;
}
u64 load(unsigned place, unsigned secs, unsigned array, unsigned slot, unsigned which, u64 linaddr) {
  pageinfo = {
      .linaddr = linaddr, .srcpge = address(image[which]), .secinfo = address(&pcmd[which]), .secs = epc_at(secs)};
  return encls(arch::EnclsLeaf::eldu, address(&pageinfo), epc_at(place), epc_at(array) + slot * 8).rax;
}

constexpr u64 code(arch::SgxError error) { return static_cast<u64>(error); }
constexpr u64 child_present = code(arch::SgxError::child_present), blkstate = code(arch::SgxError::blkstate),
              mac_compare_fail = code(arch::SgxError::mac_compare_fail),
              occupied = code(arch::SgxError::va_slot_occupied);

}  // namespace

CASE(blocked_for_ever) {
  fresh();
  constexpr unsigned pages = 600, other = first + 1000;
  create(first);
  for (unsigned i = 1; i <= pages; i++) add(first + i, first);
  for (unsigned i = 1; i <= pages; i++) block(first + i);
  // Others want what they have.
  create(other);
  for (unsigned i = 1; i <= pages; i++) add(other + i, other);
  unsigned still = 0;
  for (unsigned i = 1; i <= pages; i++) still += encls(arch::EnclsLeaf::eblock, 0, epc_at(first + i)).rax == blkstate;
  expect("blocked", still, pages);
  expect("left", remove_all(first, pages + 1), 0);
  expect("left", remove_all(other, pages + 1), 0);
}

CASE(thousands_of_children) {
  fresh();
  constexpr unsigned pages = 2500;
  create(first);
  for (unsigned i = 1; i <= pages; i++) add(first + i, first);
  expect("secs", remove(first), child_present);
  unsigned left = 0, wrong = 0;
  for (unsigned i = 1; i < pages; i++) {
    wrong += peek(first + i, 0) != first + i;
    left += remove(first + i) != 0;
    if (i % 100 == 0) wrong += remove(first) != child_present;
  }
  expect("wrong", wrong, 0);
  expect("left", left, 0);
  expect("secs", remove(first), child_present);
  expect("last", remove(first + pages), 0);
  expect("secs", remove(first), 0);
}

CASE(slots_used_again) {
  fresh();
  constexpr unsigned array = first + 500, rest = first + 600, slot = 7;
  create(first);
  epa(array);
  for (unsigned i = 1; i <= 300; i++) add(first + i, first);
  u64 linaddr[2];
  unsigned wrong = 0;
  for (unsigned round = 0; round < 20; round++) {
    const unsigned a = first + 1 + round, b = first + 100 + round;
    for (unsigned place : {a, b}) block(place);
    encls(arch::EnclsLeaf::etrack, 0, epc_at(first));
    wrong += write_out(a, array, slot, 0) != 0;
    linaddr[0] = pageinfo.linaddr;
    // So that the array is out before its slot is used again.
    for (unsigned i = 0; i < 400; i++) epa(rest + i);
    wrong += write_out(b, array, slot, 1) != occupied;
    linaddr[1] = pageinfo.linaddr;
    wrong += remove_all(rest, 400) != 0;
    wrong += load(a, first, array, slot, 0, linaddr[0]) != mac_compare_fail;
    wrong += load(b, first, array, slot, 1, linaddr[1]) != 0;
    wrong += load(a, first, array, slot, 1, linaddr[1]) != mac_compare_fail;
    wrong += peek(b, 0) != b;
    add(a, first);
  }
  expect("wrong", wrong, 0);
  expect("left", remove_all(first, 301), 0);
  expect("array", remove(array), 0);
}

// ---- mappings that move while a leaf is at work

namespace {

u64* volatile moving;
volatile u64 places_of[4];
volatile u64 moves;
volatile bool stop_moving;

void move(unsigned number) {
  if (number != 1) return;
  for (unsigned i = 0; !stop_moving; i++) {
    __atomic_store_n(moving, places_of[i % 4], __ATOMIC_SEQ_CST);
    moves = moves + 1;
  }
}

}  // namespace

CASE(mappings_move) {
  fresh();
  constexpr unsigned target = first, others = first + 100;
  create(others);
  for (unsigned i = 1; i <= 300; i++) add(others + i, others);
  map(window_va, physical_at(target), pte::p | pte::w);
  moving = entry_of(window_va);
  // A child, a free page, RAM, and nothing.
  places_of[0] = physical_at(others + 1) | pte::p | pte::w;
  places_of[1] = physical_at(target) | pte::p | pte::w;
  places_of[2] = new_frame() | pte::p | pte::w;
  places_of[3] = 0;
  processors::start(move);
  while (!moves) asm volatile("pause");
  for (unsigned i = 0; i < 3000; i++) {
    cpu::invlpg(window_va);
    attempt([&] {
      switch (i % 6) {
        case 0:
          prepare_add(others + 400, others);
          encls(arch::EnclsLeaf::eadd, address(&pageinfo), window_va);
          break;
        case 1: encls(arch::EnclsLeaf::eblock, 0, window_va); break;
        case 2: encls(arch::EnclsLeaf::etrack, 0, epc_at(others)); break;
        case 3:
          pageinfo = {.linaddr = 0, .srcpge = address(image[0]), .secinfo = address(&pcmd[0]), .secs = 0};
          encls(arch::EnclsLeaf::ewb, address(&pageinfo), window_va, epc_at(target + 1));
          break;
        case 4: encls(arch::EnclsLeaf::eremove, 0, window_va); break;
        default: encls(arch::EnclsLeaf::epa, static_cast<u64>(arch::PageType::va), window_va); break;
      }
    });
    add(others + 301 + i % 50, others);  // others come and go
    remove(others + 301 + i % 50);
  }
  stop_moving = true;
  expect("child", remove(others + 1), 0);
  expect("target", remove(target), 0);
  expect("left", remove_all(others, 301), 0);
  // The whole EPC is as if nothing had been.
  create(target);
  add(target + 1, target);
  expect("again", peek(target + 1, 0), target + 1);
  expect("left", remove_all(target, 2), 0);
}
