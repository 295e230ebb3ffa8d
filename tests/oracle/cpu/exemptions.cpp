// The written exemptions.
#include "oracle/cpu/exemptions.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <string>

#include "oracle/cpu/address.hpp"
#include "oracle/cpu/vendors.hpp"

namespace cloister::oracle {
namespace {

constexpr bool fault = true, others = true;

constexpr Exemption table[] = {
    // -- privileged: a process sees the fault and not the operation (SDM vol. 3A, 5.9)
    {"hlt", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"cli", "changes IF, which a process may not (SDM vol. 2A, CLI)", "payload suite", fault},
    {"sti", "changes IF, which a process may not (SDM vol. 2B, STI)", "payload suite", fault},
    {"clts", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"lgdt *", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"lidt *", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"lldt *", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"ltr *", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"lmsw *", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"mov *cr*", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"mov *dr*", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"lock mov *", "AMD reaches CR8 with LOCK; #UD for Intel (SDM vol. 2B, MOV)", "payload suite"},
    {"rdmsr", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"wrmsr", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"rdpmc", "counts the host's events (SDM vol. 2B, RDPMC)", "payload suite"},
    {"invd", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"wbinvd", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"invlpg *", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"invpcid *", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"xsetbv", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"swapgs", "privileged (SDM vol. 3A, 5.9)", "payload suite", fault},
    {"clac", "CPL 0 only (SDM vol. 2A, CLAC)", "payload suite", fault},
    {"stac", "CPL 0 only (SDM vol. 2B, STAC)", "payload suite", fault},
    {"in *", "I/O: exits, or #GP by the permission map of the host's kernel (SDM vol. 1, 19.5)", "payload suite",
     fault},
    {"out *", "I/O: exits, or #GP by the permission map of the host's kernel (SDM vol. 1, 19.5)", "payload suite",
     fault},
    {"insb*", "I/O (SDM vol. 1, 19.5)", "payload suite", fault},
    {"insw*", "I/O (SDM vol. 1, 19.5)", "payload suite", fault},
    {"insd*", "I/O (SDM vol. 1, 19.5)", "payload suite", fault},
    {"outsb*", "I/O (SDM vol. 1, 19.5)", "payload suite", fault},
    {"outsw*", "I/O (SDM vol. 1, 19.5)", "payload suite", fault},
    {"outsd*", "I/O (SDM vol. 1, 19.5)", "payload suite", fault},
    {"rep* ins*", "I/O (SDM vol. 1, 19.5)", "payload suite", fault},
    {"rep* outs*", "I/O (SDM vol. 1, 19.5)", "payload suite", fault},
    {"xsaves*", "privileged (SDM vol. 2C, XSAVES)", "payload suite", fault},
    {"xrstors*", "privileged (SDM vol. 2C, XRSTORS)", "payload suite", fault},
    // -- enter the host's kernel or change the host's privilege level
    {"syscall", "enters the host's kernel (SDM vol. 2B, SYSCALL)", "payload suite"},
    {"sysret", "privileged; #UD in compatibility mode, where AMD has it (SDM vol. 2B, SYSRET)",
     "payload suite, ManualTest"},
    {"sysenter", "enters the host's kernel (SDM vol. 2B, SYSENTER)", "payload suite"},
    {"sysexit", "privileged (SDM vol. 2B, SYSEXIT)", "payload suite"},
    {"int *", "delivers through the host's IDT (SDM vol. 2A, INT n)", "payload suite"},
    {"int1", "delivers through the host's IDT (SDM vol. 2A, INT1)", "payload suite"},
    {"int3", "ends every case of this test (SDM vol. 2A, INT3)", "payload suite"},
    {"into", "delivers through the host's IDT (SDM vol. 2A, INTO)", "payload suite"},
    {"vmcall", "exits to the host's own hypervisor (SDM vol. 3C, 26.1.2)", "payload suite"},
    // -- depend on the machine, not on their operands
    {"cpuid", "reports the machine (SDM vol. 2A, CPUID)", "payload suite"},
    {"rdtsc*", "reads the clock (SDM vol. 2B, RDTSC)", "payload suite"},
    {"rdrand *", "random by definition (SDM vol. 2B, RDRAND)", "ManualTest"},
    {"rdseed *", "random by definition (SDM vol. 2B, RDSEED)", "ManualTest"},
    {"rdpid *", "reads IA32_TSC_AUX of the host (SDM vol. 2B, RDPID)", "ManualTest"},
    {"xgetbv", "reads the host's XCR0 (SDM vol. 2C, XGETBV)", "payload suite"},
    {"sgdt *", "UMIP: the host's kernel emulates it with its own values (SDM vol. 2B, SGDT)", "payload suite"},
    {"sidt *", "UMIP: the host's kernel emulates it with its own values (SDM vol. 2B, SIDT)", "payload suite"},
    {"sldt *", "UMIP: the host's kernel emulates it with its own values (SDM vol. 2B, SLDT)", "payload suite"},
    {"str *", "UMIP: the host's kernel emulates it with its own values (SDM vol. 2B, STR)", "payload suite"},
    {"smsw *", "UMIP: the host's kernel emulates it with its own values (SDM vol. 2B, SMSW)", "payload suite"},
    {"encls", "privileged, and hosts without SGX (SDM vol. 3D, 38)", "payload suite"},
    {"enclv", "VMX root operation at CPL 0 only (SDM vol. 3D, 38.5)", "payload suite, unit_silicon", fault},
    {"enclu", "hosts without SGX (SDM vol. 3D, 38)", "payload suite"},
    {"call m80", "AMD has no far pointers with 64-bit offsets: REX.W is ignored (SDM vol. 2A, CALL)", "ManualTest",
     !fault, others},
    {"jmp m80", "AMD has no far pointers with 64-bit offsets: REX.W is ignored (SDM vol. 2A, JMP)", "ManualTest",
     !fault, others},
    {"l[fgs]s r64, m80", "AMD has no far pointers with 64-bit offsets: REX.W is ignored (SDM vol. 2A, LSS)",
     "ManualTest", !fault, others},
    {"lfs *", "FS has the host's thread pointer (SDM vol. 2A, LFS)", "ManualTest"},
    // -- segments: the host's thread pointer is in FS
    {"*rdfsbase *", "FS has the host's thread pointer (SDM vol. 2B, RDFSBASE)", "ManualTest"},
    {"*wrfsbase *", "FS has the host's thread pointer (SDM vol. 2C, WRFSBASE)", "ManualTest"},
};

bool near_branch(const ZydisDecodedInstruction& info) {
  return info.meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR || info.meta.branch_type == ZYDIS_BRANCH_TYPE_SHORT ||
         (info.mnemonic == ZYDIS_MNEMONIC_RET && info.opcode < 0xc8);
}

}  // namespace

const Exemption* exemption_of(std::string_view form) {
  const std::string name(form);
  for (const Exemption& e : table)
    if (fnmatch(e.form, name.c_str(), 0) == 0 && !(e.others && intel_host())) return &e;
  return nullptr;
}

const char* excluded(const Instruction& i) {
  const auto end = i.bytes.begin() + i.info.raw.prefix_count;
  const auto prefixed = [&](u8 byte) { return std::find(i.bytes.begin(), end, byte) != end; };
  if (!intel_host() && i.bits64 && prefixed(0x66) && near_branch(i.info)) {
    return "66 on near branches: Intel ignores it in 64-bit mode, AMD does not (SDM vol. 2D, table A-1, f64)";
  }
  if (!intel_host() && (prefixed(0xf2) || prefixed(0xf3)) && (i.info.opcode & 0xfe) == 0xe0 &&
      i.info.mnemonic != ZYDIS_MNEMONIC_JMP && i.info.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
    return "repeat prefixes on LOOPE and LOOPNE are reserved (SDM vol. 2A, 2.1.1); AMD lets them choose the condition";
  }
  static constexpr std::array elements = {ZYDIS_MNEMONIC_VPEXTRD, ZYDIS_MNEMONIC_VPINSRD};
  if (!intel_host() && !i.bits64 && std::ranges::find(elements, i.info.mnemonic) != elements.end() &&
      i.info.raw.vex.W != 0) {
    return "VEX.W is ignored outside 64-bit mode (SDM vol. 2B, PEXTRD, note 2); AMD raises #UD";
  }
  if (!intel_host() && i.info.mnemonic == ZYDIS_MNEMONIC_PAUSE && (i.info.attributes & ZYDIS_ATTRIB_HAS_REX) != 0 &&
      i.info.raw.rex.B != 0) {
    return "PAUSE with REX.B is not defined (SDM vol. 2B, PAUSE): PAUSE for Intel; AMD executes XCHG";
  }
  if (!intel_host() && i.info.mnemonic == ZYDIS_MNEMONIC_NOP && i.info.opcode == 0x0d && i.info.raw.modrm.mod == 3) {
    return "register forms of PREFETCHW are reserved (SDM vol. 2D, table A-3); AMD raises #UD";
  }
  for (const ZydisDecodedOperand& op : i.operands()) {
    const bool written = (op.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    if (op.type == ZYDIS_OPERAND_TYPE_REGISTER && op.reg.value == ZYDIS_REGISTER_FS && written) {
      return "FS has the host's thread pointer";
    }
  }
  return nullptr;
}

const char* excluded_case(const Instruction& i, const State& state) {
  const ZydisDecodedOperand* const op = i.memory();
  if (!intel_host() && i.info.meta.isa_ext == ZYDIS_ISA_EXT_SHA && op != nullptr &&
      (linear_address(state, i, *op) & 15) != 0) {
    return "SHA with an unaligned operand: #GP(0) (SDM vol. 2, table 2-21); AMD does not check";
  }
  if (i.info.mnemonic == ZYDIS_MNEMONIC_CVTPI2PS && op != nullptr && (state.fpu.status & 0x80) != 0) {
    return "CVTPI2PS from memory with a pending x87 exception: #MF (SDM vol. 2A, CVTPI2PS); processors run it";
  }
  const bool masked = i.info.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU || i.info.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
                      i.info.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
  if (masked && op != nullptr) {
    const u64 at = linear_address(state, i, *op);
    if (at < sandbox::data || at + op->size / 8 > sandbox::data_end) {
      return "faults for bytes that the mask leaves out are implementation-specific (SDM vol. 2A, MASKMOVDQU)";
    }
  }
  const bool xsave = i.info.meta.isa_ext == ZYDIS_ISA_EXT_XSAVE || i.info.meta.isa_ext == ZYDIS_ISA_EXT_XSAVEC ||
                     i.info.meta.isa_ext == ZYDIS_ISA_EXT_XSAVEOPT;
  if (xsave && op != nullptr &&
      (static_cast<u32>(state.gpr[arch::rax]) > 7 || static_cast<u32>(state.gpr[arch::rdx]) != 0)) {
    return "the host's XCR0 has components that ours has not: EDX:EAX must select x87, SSE and AVX only";
  }
  return nullptr;
}

bool always_faults(std::string_view form) {
  static constexpr std::array patterns = {"ud0*", "ud1*", "ud2"};
  const std::string name(form);
  return std::any_of(patterns.begin(), patterns.end(), [&](const char* p) { return fnmatch(p, name.c_str(), 0) == 0; });
}

}  // namespace cloister::oracle
