#include "machine.hpp"

// What sign.cpp wrote.
asm(".section .rodata\n.balign 16\nsigned_enclaves: .incbin \"" SIGNED_ENCLAVES "\"\n.previous");
extern "C" const u8 signed_enclaves[];

namespace sgx {

Operands operands;
Call call;
Ending ending;
Plan the_plan;

namespace {

constexpr u64 epc_window = u64{6} << 39, gibibyte = 1 << 30;
constexpr u64 alias_ram = 128 << 20;   // a multiple of the EPC's size
constexpr u64 accept_secinfo = 0x800;  // in output_page
Code enclu_bytes() { return CODE(".byte 0x0f, 0x01, 0xd7; int 0x81; .org 771b + 8; .byte 0x0f, 0x01, 0xd7"); }

Operands own;  ///< of the leaves that make things ready
alignas(page_bytes) u8 code_bytes[page_bytes];
alignas(page_bytes) const u8 zeros[page_bytes] = {};

u64 epc_physical() {
  static u64 base;
  if (!base) {
    const cpu::Cpuid r = cpu::cpuid(0x12, 2);
    base = (u64{r.ebx & 0xfffff} << 32) | (r.eax & 0xfffff000);
  }
  return base;
}

void place(u64 offset, Code code) {
  for (const u8* p = code.begin; p != code.end; p++) code_bytes[offset++] = *p;
}

void make_code() {
  place(run_leaf,
        CODE("cmp rsi, -1; jne 1f; ud2; 1: mov r15, rcx; mov rax, rsi; mov rbx, rdi; mov rcx, r8; push r9; popfq;"
             ".byte 0x0f, 0x01, 0xd7;"
             "pushfq; pop r10; mov r11, rax; mov r12, rbx; mov r13, rcx; mov r14, rdx;"
             "mov rbx, r15; mov eax, 4; .byte 0x0f, 0x01, 0xd7"));
  // Means the same in 32-bit mode.
  place(come_out, CODE("mov ebx, ecx; mov eax, 4; .byte 0x0f, 0x01, 0xd7"));
  place(break_off, CODE("ud2"));
  place(count, CODE("mov r15, rcx; 1: inc qword ptr [rdi]; dec rsi; jnz 1b; mov r11, [rdi];"
                    "mov rbx, r15; mov eax, 4; .byte 0x0f, 0x01, 0xd7"));
  place(vectors, CODE("mov r15, rcx;"
                      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15; vmovdqu ymm\\n, [rdi + 32 * \\n]; .endr;"
                      "1: vpaddq ymm0, ymm0, ymm1; dec rsi; jnz 1b;"
                      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15; vmovdqu [rdi + 512 + 32 * \\n], ymm\\n; .endr;"
                      "mov rbx, r15; mov eax, 4; .byte 0x0f, 0x01, 0xd7"));
  place(components, CODE("mov r15, rcx; xor ecx, ecx; xgetbv; mov r11, rax; mov rbx, r15; mov eax, 4;"
                         ".byte 0x0f, 0x01, 0xd7"));
  place(stay, CODE("mov rbx, rcx; 1: pause; cmp qword ptr [rsi], 0; je 1b; mov eax, 4; .byte 0x0f, 0x01, 0xd7"));
}

const void* content_of(unsigned page) {
  static arch::Tcs second;
  switch (page) {
    case code_page: return code_bytes;
    case tcs_page: return &the_plan.tcs;
    case data_page: return the_plan.data;
    case second_tcs_page:
      second = {};
      second.ossa = second_ssa_page * page_bytes;
      second.nssa = 1;
      second.oentry = stay;
      second.fslimit = second.gslimit = 0xfff;
      return &second;
    default: break;
  }
  if (page < ssa_page || page >= data_page) return zeros;
  return (page - ssa_page) % ssa_frame_pages == 0 ? the_plan.frame_page : the_plan.frame_end;
}

arch::Secinfo secinfo_of(arch::PageType type, u64 flags) {
  return {.flags = flags | u64{static_cast<u8>(type)} << arch::secinfo_flags::page_type_shift, .reserved = {}};
}

u64 hash(u64 state, const void* bytes, u64 size) {
  const u64* p = static_cast<const u64*>(bytes);
  for (u64 i = 0; i < size / 8; i++) state = (state ^ p[i]) * 0x100000001b3;
  return state;
}

bool leaves_by_itself() { return call.door == Door::inside && call.leaf == static_cast<u64>(arch::EncluLeaf::eexit); }

}  // namespace

u64 physical_at(unsigned place) { return epc_physical() + place * page_bytes; }
u64 epc_at(unsigned place) { return epc_window + epc_physical() % gibibyte + place * page_bytes; }
void map_alias(u64 linear, unsigned place, u64 flags) { map(linear, alias_ram + place * page_bytes, flags); }
u64 alias_of(unsigned place) {
  const u64 linear = window_va + place * page_bytes;
  map_alias(linear, place, pte::p | pte::w);
  return linear;
}
void map_enclave_page(unsigned page, unsigned place) {
  map(in_enclave(page), epc_physical() + place * page_bytes, pte::p | pte::w | pte::u);
}

// ---- leaves

Done encls(arch::EnclsLeaf leaf, u64 rbx, u64 rcx, u64 rdx) {
  Done result{static_cast<u64>(leaf), rbx, false, false};
  asm volatile(".byte 0x0f, 0x01, 0xcf\n setz %2\n setc %3"
               : "+a"(result.rax), "+b"(result.rbx), "=&r"(result.zf), "=&r"(result.cf)
               : "c"(rcx), "d"(rdx)
               : "memory", "cc");
  return result;
}

void execute() {
  static const Code doors[] = {CODE(".byte 0x0f, 0x01, 0xcf"), enclu_bytes(), CODE(".byte 0x0f, 0x01, 0xc0")};
  const bool inside = call.door == Door::inside;
  place_code(doors[static_cast<unsigned>(inside ? Door::enclu : call.door)]);
  if (call.es) place_code(CODE32("mov es, di; .byte 0x0f, 0x01, 0xd7"));
  Regs regs{.rax = call.leaf, .rcx = call.rcx, .rdx = call.rdx, .rbx = call.rbx, .rdi = call.es};
  if (inside) {
    regs = {.rax = static_cast<u64>(arch::EncluLeaf::eenter),
            .rcx = aep,
            .rdx = call.rdx,
            .rbx = in_enclave(tcs_page),
            .rsi = call.leaf,
            .rdi = call.rbx,
            .r8 = call.rcx,
            .r9 = Call::flags | flag::fixed};
  }
  Context context = context_for(call.mode, regs, Call::flags | flag::fixed);
  if (call.adjust) call.adjust(context);
  if (call.with_thread) {
    send_thread_inside();
    call.with_thread();
  }
  ending.trap = run_context(context);
  const u64* const gpr = ending.trap.gpr;
  if (!inside || (leaves_by_itself() && ending.trap.vector == vec::done)) {
    ending = {ending.trap, gpr[0], gpr[3], gpr[1], gpr[2], ending.trap.rflags};
  } else if (ending.trap.vector == vec::done) {
    ending = {ending.trap, gpr[11], gpr[12], gpr[13], gpr[14], gpr[10]};
  } else {
    ending = {ending.trap,          saved(0, call.frame),  saved(24, call.frame),
              saved(8, call.frame), saved(16, call.frame), saved(128, call.frame)};
  }
}

void call_encls(arch::EnclsLeaf leaf, u64 rbx, u64 rcx, u64 rdx) {
  call = {.door = Door::encls, .leaf = static_cast<u64>(leaf), .rbx = rbx, .rcx = rcx, .rdx = rdx};
}
void call_enclu(arch::EncluLeaf leaf, u64 rbx, u64 rcx) {
  call = {.door = Door::enclu, .leaf = static_cast<u64>(leaf), .rbx = rbx, .rcx = rcx, .mode = Mode::user64};
}
void call_inside(arch::EncluLeaf leaf, u64 rbx, u64 rcx, u64 rdx) {
  call = {
      .door = Door::inside, .leaf = static_cast<u64>(leaf), .rbx = rbx, .rcx = rcx, .rdx = rdx, .mode = Mode::user64};
}

// ---- enclaves

void Plan::reset() {
  memset(this, 0, sizeof *this);
  secs.size = enclave_bytes;
  secs.base = enclave_base;
  secs.ssa_frame_size = ssa_frame_pages;
  secs.attributes = {arch::attributes::mode64bit | arch::attributes::debug, 3};
  tcs.ossa = ssa_page * page_bytes;
  tcs.nssa = ssa_frames;
  tcs.oentry = run_leaf;
  tcs.fslimit = tcs.gslimit = 0xfff;
}

Done ecreate(unsigned enclave) {
  memset(own.source, 0, page_bytes);
  memcpy(own.source, &the_plan.secs, sizeof the_plan.secs);
  own.secinfo = {};
  own.pageinfo = {.linaddr = 0, .srcpge = address(own.source), .secinfo = address(&own.secinfo), .secs = 0};
  return encls(arch::EnclsLeaf::ecreate, address(&own.pageinfo), epc_at(secs_of(enclave)));
}

Done eadd(unsigned enclave, unsigned page, const void* content) {
  memcpy(own.source, content, page_bytes);
  own.secinfo = {.flags = flags_of(page), .reserved = {}};
  own.pageinfo = {.linaddr = the_plan.secs.base + page * page_bytes,
                  .srcpge = address(own.source),
                  .secinfo = address(&own.secinfo),
                  .secs = epc_at(secs_of(enclave))};
  return encls(arch::EnclsLeaf::eadd, address(&own.pageinfo), epc_at(place_of(enclave, page)));
}

Done einit(unsigned enclave, Signature which) {
  own.sigstruct = signature(which);
  own.token = {};
  return encls(arch::EnclsLeaf::einit, address(&own.sigstruct), epc_at(secs_of(enclave)), address(&own.token));
}

void build(unsigned enclave) {
  make_code();
  ecreate(enclave);
  for (unsigned page = 0; page < added_pages; page++) eadd(enclave, page, content_of(page));
}
void initialise(unsigned enclave) {
  set_launch_signer(the_plan.signature == other_signer);
  einit(enclave, the_plan.signature);
}
void launch(unsigned enclave) {
  build(enclave);
  initialise(enclave);
}

const arch::Sigstruct& signature(Signature which) {
  return reinterpret_cast<const arch::Sigstruct*>(signed_enclaves)[which];
}
const u8* signer(bool other) { return signed_enclaves + signatures * sizeof(arch::Sigstruct) + (other ? 32 : 0); }
void set_launch_signer(bool other) {
  for (u32 i = 0; i < 4; i++) cpu::wrmsr(0x8c + i, reinterpret_cast<const u64*>(signer(other))[i]);
}

void eaug(unsigned page, unsigned enclave) {
  own.pageinfo = {.linaddr = in_enclave(page), .srcpge = 0, .secinfo = 0, .secs = epc_at(secs_of(enclave))};
  encls(arch::EnclsLeaf::eaug, address(&own.pageinfo), epc_at(place_of(enclave, page)));
}
void eremove(unsigned place) { encls(arch::EnclsLeaf::eremove, 0, epc_at(place)); }
void epa(unsigned place) { encls(arch::EnclsLeaf::epa, static_cast<u64>(arch::PageType::va), epc_at(place)); }
void change_type(unsigned page, arch::PageType type) {
  own.secinfo = secinfo_of(type, 0);
  encls(arch::EnclsLeaf::emodt, address(&own.secinfo), epc_at(place_of(0, page)));
}
void restrict_rights(unsigned page, u64 allowed) {
  own.secinfo = secinfo_of(arch::PageType::reg, allowed);
  encls(arch::EnclsLeaf::emodpr, address(&own.secinfo), epc_at(place_of(0, page)));
}
void track(unsigned enclave) { encls(arch::EnclsLeaf::etrack, 0, epc_at(secs_of(enclave))); }
void block(unsigned place) { encls(arch::EnclsLeaf::eblock, 0, epc_at(place)); }
void accept(unsigned page, u64 flags) {
  const Call before = call;
  poke(place_of(0, output_page), accept_secinfo, flags);
  call_inside(arch::EncluLeaf::eaccept, in_enclave(output_page) + accept_secinfo, in_enclave(page));
  execute();
  call = before;
}
void evict(unsigned place, unsigned slot) {
  block(place);
  if (place < spare(0) && place % 64 != 0) track(place / 64);  // a page of an enclave
  own.pageinfo = {.linaddr = 0, .srcpge = address(operands.image), .secinfo = address(&operands.pcmd), .secs = 0};
  encls(arch::EnclsLeaf::ewb, address(&own.pageinfo), epc_at(place), epc_at(version_array(0)) + slot * 8);
}

// ---- looking

arch::Rdinfo look(unsigned place) {
  own.rdinfo = {};
  const Done result = encls(arch::EnclsLeaf::erdinfo, address(&own.rdinfo), epc_at(place));
  if (result.zf || result.cf) own.rdinfo.status = invalid;
  return own.rdinfo;
}
u64 peek(unsigned place, u64 offset) { return encls(arch::EnclsLeaf::edbgrd, 0, epc_at(place) + offset).rbx; }
void poke(unsigned place, u64 offset, u64 value) { encls(arch::EnclsLeaf::edbgwr, value, epc_at(place) + offset); }
void poke16(unsigned place, u64 offset, u16 value) {
  const u64 word = offset & ~7ul, shift = (offset & 7) * 8;
  poke(place, word, (peek(place, word) & ~(0xfffful << shift)) | u64{value} << shift);
}
u64 saved(u64 offset, unsigned frame) {
  const unsigned last = place_of(0, ssa_page + frame * ssa_frame_pages + ssa_frame_pages - 1);
  if (look(last).status == invalid) return 0;
  return peek(last, saved_offset + offset);
}
u64 fingerprint() {
  u64 state = hash(0xcbf29ce484222325, &operands, sizeof operands);
  for (unsigned place = 0; place < places; place++) {
    const arch::Rdinfo info = look(place);
    state = hash(state, &info, sizeof info);
  }
  return state;
}

Trap enter_enclave() {
  const bool wide = (the_plan.secs.attributes.flags & arch::attributes::mode64bit) != 0;
  return run(wide ? Mode::user64 : Mode::user32, enclu_bytes(),
             {.rax = static_cast<u64>(arch::EncluLeaf::eenter), .rcx = aep, .rbx = in_enclave(tcs_page), .rsi = ~0ul});
}

void baseline() {
  reset_machine();
  map(epc_window, epc_physical() & ~(gibibyte - 1), pte::p | pte::w, 3);
  for (unsigned page = 0; page < enclave_bytes / page_bytes; page++) map_enclave_page(page, place_of(0, page));
}

void fresh() {
  bring_thread_out();
  baseline();
  // Children first, then their SECSs.
  for (unsigned pass = 0; pass < 2; pass++) {
    for (unsigned place = 0; place < places; place++) eremove(place);
  }
  memset(&operands, 0, sizeof operands);
  the_plan.reset();
}

}  // namespace sgx
