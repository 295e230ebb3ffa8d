// Page tables of wild entries. A host may end a domain whose tables lie outside memory.
#include "hostile.hpp"

namespace {
constexpr auto k = Mode::kernel64;
}

// Page tables of wild entries below a part of the address space that the payload does not live in.
CASE(wild_page_tables) {
  Random random(13);
  constexpr u64 far = u64{7} << 39;
  for (unsigned i = 0; i < 3000; i++) {
    map(far, new_frame(), pte::p | pte::w | pte::u);
    const unsigned level = 1 + static_cast<unsigned>(random.below(4));
    u64 entry = random.below(2) ? random.wild() : (place(random) | (random.next() & 0x8000'0000'0000'0fff));
    if (i < 2500) entry &= 0x8000'0000'1fff'ffff;  // RAM first, then anything
    *entry_of(far, level) = entry;
    cpu::flush_tlb();
    const Code codes[] = {CODE("mov rax, [rbx]"), CODE("mov [rbx], rax"), CODE("jmp rbx"),
                          CODE("lock inc qword ptr [rbx]")};
    const Mode mode = random.below(2) ? k : Mode::user64;
    run(mode, codes[random.below(4)], {.rax = random.next(), .rbx = far + random.below(0x2000)});
    *entry_of(far, 4) = 0;
    cpu::flush_tlb();
    if (i % 64 == 63) reset_machine();
  }
  expect("alive", 1, 1);
}

// A CR3 that names a device, a hole or the EPC: whatever follows is a fault whose handler cannot be fetched; so only
// through a table that maps the payload's own code as well, except that the walk sets A bits in those places.
CASE(tables_in_devices) {
  Random random(15);
  constexpr u64 far = u64{7} << 39;
  for (unsigned i = 0; i < 500; i++) {
    map(far, new_frame(), pte::p | pte::w);
    const unsigned level = 2 + static_cast<unsigned>(random.below(3));
    *entry_of(far, level) = place(random) | pte::p | pte::w | pte::u;
    cpu::flush_tlb();
    run(k, CODE("mov rax, [rbx]"), {.rbx = far});
    run(k, CODE("mov [rbx], rax"), {.rbx = far});
    *entry_of(far, 4) = 0;
    if (i % 64 == 63) reset_machine();
  }
  expect("alive", 1, 1);
}
