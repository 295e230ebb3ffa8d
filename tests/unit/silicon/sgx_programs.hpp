// Random short programs that run outside an enclave and do their best to look into it, and random code inside that
// fills the registers with secrets and then leaves by an asynchronous exit.
#pragma once

#include <random>
#include <vector>

#include "arch/sgx.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {

namespace place {
constexpr u64 pml4 = 0x1000, pdpt = 0x2000, low_pd = 0x3000, epc_pd = 0x4000, epc_pt = 0x5000, alias_pt = 0x6000,
              gdt = 0x7000, idt = 0x8000, tss = 0x9000, handler = 0xa000, code = 0x10000, stack = 0x20000,
              buffer = 0x30000, ram_bytes = 0x40000;
constexpr u64 epc = 0x4000'0000;
/// Linear addresses beside the EPC's own: its pages in another order; tables that lie in the EPC itself.
constexpr u64 alias = epc + 0x20'0000, table_in_epc = epc + 0x40'0000, directory_in_epc = 0x8000'0000;

// Pages of the EPC.
constexpr u32 secs = 0, tcs = 1, ssa = 2, text = 3, data = 4, blocked = 9, va = 10, vacant = 11, pages = 14;
constexpr u64 at(u32 page) { return epc + page * arch::page_size; }
}  // namespace place

/// What both machines start with, apart from the secrets.
struct Program {
  std::vector<u8> code, enclave_code;
  GeneralRegs general;
  SystemRegs system;
  FxsaveImage fpu{};
  Controls controls;
  bool interrupted = false;  ///< the enclave's thread has left by an asynchronous exit before
  bool active = false;       ///< another processor is in the enclave with this TCS
};

/// A memory operand's encoding: [base + disp32].
struct Encoding {
  u8 prefix;  ///< or 0
  u8 escape;  ///< 0: none, 1: 0F, 2: 0F 38
  u8 opcode;
  int reg;  ///< of ModRM, or -1: any
  u8 immediate = 0;
};

class Author {
 public:
  explicit Author(u64 seed) : random_(seed) {}

  Program write() {
    Program p;
    user_ = one_in(3);
    set_system(p.system);
    set_registers(p.general);
    p.fpu[0] = 0x7f;
    p.fpu[1] = 0x03;
    p.fpu[24] = 0x80;
    p.fpu[25] = 0x1f;
    p.controls.exception_bitmap = one_in(4) ? 0 : ~0u;
    p.controls.encls_exiting = p.controls.enclv_exiting = true;
    // What EWB writes outside is ciphertext, which does depend on the page.
    p.controls.encls_bitmap = u64{1} << static_cast<u32>(arch::EnclsLeaf::ewb);
    for (u64 i = 0; i < 12; ++i) add_instruction(p.code);
    p.code.push_back(0xf4);  // HLT
    write_enclave(p.enclave_code);
    p.interrupted = one_in(3);
    p.active = one_in(6);
    return p;
  }

 private:
  u64 below(u64 n) { return random_() % n; }
  bool one_in(u64 n) { return below(n) == 0; }

  u64 epc_address() {
    // Mostly what is mapped: a fault ends the program.
    const u64 strange = one_in(2) ? place::table_in_epc : place::directory_in_epc;
    const u64 window = one_in(12) ? strange : one_in(4) ? place::alias : place::epc;
    const u64 page = window + below(place::pages) * arch::page_size;
    constexpr u64 offsets[] = {0, 8, 0xff8, 0xffc, 0x200};
    return page + (one_in(2) ? offsets[below(std::size(offsets))] : below(arch::page_size));
  }
  u64 ram_address() { return place::buffer + 0x40 * below(0x300); }

  void set_registers(GeneralRegs& g) {
    for (u64& r : g.gpr) r = one_in(3) ? ram_address() : epc_address();
    if (one_in(2)) g.gpr[arch::rcx] = below(64);
    if (one_in(2)) g.gpr[arch::rdi] = ram_address();
    if (!one_in(8)) g.gpr[arch::rsp] = place::stack;
    g.rip = place::code;
    g.rflags = arch::rflags::fixed1 | (one_in(8) ? arch::rflags::df : 0);
  }

  void set_system(SystemRegs& s) {
    const u16 dpl = user_ ? 3 : 0;
    const u32 level = u32{dpl} << 5;
    s.seg.fill({static_cast<u16>(0x10 | dpl), 0, 0xffff'ffff, 0xc093 | level});
    s.seg[arch::seg_cs] = {static_cast<u16>(0x08 | dpl), 0, 0xffff'ffff, 0xa09b | level};
    s.tr = {0x18, one_in(12) ? epc_address() : place::tss, 0x67, 0x8b};
    s.ldtr = {0, one_in(4) ? epc_address() : place::buffer, 0xfff, 0x82};
    s.gdtr = {one_in(8) ? epc_address() : place::gdt, 0xfff};
    s.idtr = {one_in(8) ? epc_address() : place::idt, 0xfff};
    s.cr0 = arch::cr0::pe | arch::cr0::pg | arch::cr0::ne | arch::cr0::et | arch::cr0::mp;
    s.cr3 = one_in(24) ? place::at(static_cast<u32>(below(place::pages))) : place::pml4;
    s.cr4 = arch::cr4::pae | arch::cr4::osfxsr | arch::cr4::osxmmexcpt | arch::cr4::osxsave | arch::cr4::fsgsbase;
    s.efer = arch::efer::lme | arch::efer::lma | arch::efer::nxe | arch::efer::sce;
    s.xcr0 = 3;
  }

  static constexpr Encoding forms[] = {
      // Loads, stores and arithmetic.
      {0, 0, 0x8b, -1},
      {0, 0, 0x8a, -1},
      {0, 0, 0x89, -1},
      {0, 0, 0x03, -1},
      {0, 0, 0x2b, -1},
      {0, 0, 0x33, -1},
      {0, 0, 0x0b, -1},
      {0, 0, 0x23, -1},
      {0, 0, 0x3b, -1},
      {0, 0, 0x85, -1},
      {0, 0, 0x87, -1},
      {0, 0, 0x63, -1},
      {0, 1, 0xb6, -1},
      {0, 1, 0xbf, -1},
      {0, 1, 0xaf, -1},
      {0, 1, 0xa3, -1},
      {0, 1, 0xab, -1},
      {0, 1, 0xb1, -1},
      {0, 1, 0xc1, -1},
      {0, 1, 0xbc, -1},
      {0, 1, 0x44, -1},
      {0xf3, 1, 0xb8, -1},
      {0, 1, 0xc7, 1},
      {0, 0, 0x8f, 0},
      {0, 0, 0xff, 6},
      {0, 0, 0xff, 0},
      {0, 0, 0xf7, 6},
      {0, 0, 0xf7, 2},
      {0xf0, 0, 0x01, -1},
      {0xf0, 1, 0xc1, -1},
      {0, 0, 0xd3, 4},
      {0xf0, 1, 0xc7, 1},
      {0xf2, 2, 0xf1, -1},
      {0, 2, 0xf0, -1},
      // Jumps through memory.
      {0, 0, 0xff, 4},
      {0, 0, 0xff, 2},
      {0, 0, 0xff, 3},
      {0, 0, 0xff, 5},
      // SSE and MMX.
      {0, 1, 0x10, -1},
      {0x66, 1, 0x6f, -1},
      {0xf3, 1, 0x6f, -1},
      {0x66, 1, 0xef, -1},
      {0, 1, 0x58, -1},
      {0xf2, 1, 0x10, -1},
      {0, 1, 0x11, -1},
      {0x66, 1, 0xe7, -1},
      {0xf2, 1, 0xf0, -1},
      {0x66, 2, 0x2a, -1},
      {0x66, 1, 0x2e, -1},
      {0xf2, 1, 0x2d, -1},
      {0x66, 1, 0x74, -1},
      {0, 1, 0x6f, -1},
      {0x66, 1, 0xc4, -1, 1},
      {0x66, 2, 0x00, -1},
      {0, 1, 0x12, -1},
      {0x66, 1, 0x16, -1},
      // x87 and state images.
      {0, 0, 0xdd, 0},
      {0, 0, 0xdb, 5},
      {0, 0, 0xdf, 5},
      {0, 0, 0xdf, 4},
      {0, 0, 0xd9, 4},
      {0, 0, 0xd9, 5},
      {0, 0, 0xdd, 4},
      {0, 0, 0xdd, 6},
      {0, 0, 0xdb, 7},
      {0, 1, 0xae, 0},
      {0, 1, 0xae, 1},
      {0, 1, 0xae, 2},
      {0, 1, 0xae, 3},
      {0, 1, 0xae, 4},
      {0, 1, 0xae, 5},
      {0, 1, 0xae, 6},
      {0, 1, 0xae, 7},
      {0, 1, 0xc7, 4},
      // Descriptors and tables.
      {0, 1, 0x01, 2},
      {0, 1, 0x01, 3},
      {0, 1, 0x01, 0},
      {0, 1, 0x01, 6},
      {0, 1, 0x00, 2},
      {0, 1, 0x00, 3},
      {0, 1, 0x00, 4},
      {0, 1, 0x02, -1},
      {0, 1, 0x03, -1},
      {0, 0, 0x8e, 4},
      {0, 0, 0x8e, 0},
      {0, 1, 0xb2, -1},
      {0, 1, 0xb4, -1},
      {0, 1, 0x01, 7},
  };

  void add(std::vector<u8>& code, std::initializer_list<int> bytes) {
    for (const int b : bytes) code.push_back(static_cast<u8>(b));
  }
  void add_u32(std::vector<u8>& code, u32 value) {
    for (unsigned i = 0; i < 4; ++i) code.push_back(static_cast<u8>(value >> (8 * i)));
  }
  void add_u64(std::vector<u8>& code, u64 value) {
    add_u32(code, static_cast<u32>(value));
    add_u32(code, static_cast<u32>(value >> 32));
  }
  void load(std::vector<u8>& code, unsigned reg, u64 value) {
    add(code, {reg < 8 ? 0x48 : 0x49, static_cast<int>(0xb8 + (reg & 7))});
    add_u64(code, value);
  }

  void add_form(std::vector<u8>& code) {
    constexpr unsigned bases[] = {arch::rbx, arch::rsi, arch::rdi, arch::rbp, arch::r8, arch::r9, arch::r10, arch::r15};
    const Encoding& form = forms[below(std::size(forms))];
    const unsigned base = bases[below(std::size(bases))];
    const unsigned reg = form.reg >= 0 ? static_cast<unsigned>(form.reg) : static_cast<unsigned>(below(16));
    if (form.prefix != 0) code.push_back(form.prefix);
    code.push_back(static_cast<u8>(0x40 | (one_in(2) ? 8 : 0) | (reg >= 8 ? 4 : 0) | (base >= 8 ? 1 : 0)));
    if (form.escape != 0) code.push_back(0x0f);
    if (form.escape == 2) code.push_back(0x38);
    code.push_back(form.opcode);
    code.push_back(static_cast<u8>(0x80 | ((reg & 7) << 3) | (base & 7)));
    add_u32(code, one_in(2) ? 0 : static_cast<u32>(below(0x1100)) - 0x80);
    if (form.immediate != 0) code.push_back(form.immediate);
  }

  void add_string(std::vector<u8>& code) {
    constexpr u8 opcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    load(code, arch::rcx, below(one_in(4) ? 3000 : 40));
    if (one_in(2)) load(code, arch::rsi, epc_address());
    if (!one_in(2)) code.push_back(one_in(2) ? 0xf3 : 0xf2);
    if (one_in(2)) code.push_back(0x48);
    code.push_back(opcodes[below(std::size(opcodes))]);
  }

  void add_other(std::vector<u8>& code) {
    switch (below(9)) {
      case 0: return add(code, {0xc3});                                // RET
      case 1: return add(code, {0x48, 0xcf});                          // IRETQ
      case 2: return add(code, {0x48, 0xcb});                          // far RET
      case 3: return add(code, {0xcd, static_cast<int>(below(256))});  // INT n
      case 4: return add(code, {0x9d});                                // POPF
      case 5: return add(code, {0x8e, 0xe0});                          // MOV FS, AX
      case 6:
        load(code, arch::rax, place::at(static_cast<u32>(below(place::pages))));
        return add(code, {0x0f, 0x22, 0xd8});                                             // MOV CR3, RAX
      case 7: load(code, arch::rax, epc_address()); return add(code, {0xff, 0xe0});       // JMP RAX
      default: load(code, arch::rsp, epc_address() & ~u64{7}); return add(code, {0x58});  // POP RAX
    }
  }

  void add_leaf(std::vector<u8>& code) {
    if (user_ || one_in(8)) {
      load(code, arch::rax, one_in(8) ? below(12) : 2 + below(2));  // EENTER, ERESUME
      load(code, arch::rbx, one_in(16) ? epc_address() : place::at(place::tcs));
      load(code, arch::rcx, place::handler);
      return add(code, {0x0f, 0x01, 0xd7});
    }
    const bool v = one_in(8);
    load(code, arch::rax, below(v ? 3 : 0x14));
    // PAGEINFO, SECINFO and the like may lie in RAM, where they are random, or in EPC.
    load(code, arch::rbx, one_in(2) ? place::at(static_cast<u32>(below(place::pages))) : ram_address());
    load(code, arch::rcx, place::at(static_cast<u32>(below(place::pages))) + (one_in(4) ? 8 * below(512) : 0));
    if (one_in(2)) load(code, arch::rdx, epc_address() & ~u64{7});
    return add(code, {0x0f, 0x01, v ? 0xc0 : 0xcf});
  }

  void add_instruction(std::vector<u8>& code) {
    const u64 kind = below(20);
    if (kind < 9) return add_form(code);
    if (kind < 12) return add_string(code);
    if (kind < 13) return add_other(code);
    return add_leaf(code);
  }

  /// Loads secrets into every register, and then does something that ends in an asynchronous exit.
  void write_enclave(std::vector<u8>& code) {
    load(code, arch::r15, place::at(place::data));
    for (unsigned i = 0; i < 16; ++i) {  // MOVUPS
      if (one_in(4)) continue;
      add(code, {0x41 | (i >= 8 ? 4 : 0), 0x0f, 0x10, static_cast<int>(0x87 | ((i & 7) << 3))});
      add_u32(code, static_cast<u32>(below(0x3000)));
    }
    if (one_in(2)) {  // FLD m80, several times
      for (u64 n = below(8); n > 0; --n) {
        add(code, {0x41, 0xdb, 0xaf});
        add_u32(code, static_cast<u32>(below(0x3000)));
      }
    }
    if (one_in(2)) {  // WRFSBASE, WRGSBASE of canonical values
      add(code, {0x49, 0x8b, 0x87});
      add_u32(code, static_cast<u32>(below(0x3000)));
      add(code, {0x48, 0xc1, 0xe8, 0x14, 0xf3, 0x48, 0x0f, 0xae, 0xd0, 0xf3, 0x48, 0x0f, 0xae, 0xd8});
    }
    for (unsigned i = 0; i < 15; ++i) {
      add(code, {i < 8 ? 0x49 : 0x4d, 0x8b, static_cast<int>(0x87 | ((i & 7) << 3))});
      add_u32(code, static_cast<u32>(below(0x3000)));
    }
    add(code, {0x48, 0x01, 0xd8});  // ADD RAX, RBX: flags
    switch (below(9)) {
      case 0: return add(code, {0x0f, 0x0b});              // UD2
      case 1: return add(code, {0xcc});                    // INT3
      case 2: return add(code, {0xf4});                    // HLT: #GP
      case 3: return add(code, {0x0f, 0xa2});              // CPUID: #UD
      case 4: return add(code, {0x31, 0xc9, 0xf7, 0xf1});  // XOR ECX, ECX; DIV ECX
      case 5: return add(code, {0x0f, 0x05});              // SYSCALL: #UD
      case 6:                                              // a page that is blocked
        load(code, arch::rax, place::at(place::blocked));
        return add(code, {0x48, 0x8b, 0x00});
      case 7: return add(code, {0x0f, 0x01, 0xc1});  // VMCALL: #UD
      default: return add(code, {0xeb, 0xfe});       // until the budget is spent
    }
  }

  std::mt19937_64 random_;
  bool user_ = false;
};

}  // namespace cloister::silicon
