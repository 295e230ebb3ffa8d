// Each difference with the manual's words on it, or what Intel's processors were seen to do where it has none.
#include "oracle/cpu/vendors.hpp"

#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "oracle/cpu/address.hpp"

namespace cloister::oracle {
namespace {

bool ends_with(const Outcome& o, u8 vector) { return o.vector && *o.vector == vector; }

/// One of the two faults at the data's end, or behind it within the instruction's operand, and the other does not.
bool reads_beyond(const State& before, const Instruction& i, const Outcome& a, const Outcome& b) {
  const ZydisDecodedOperand* const op = i.memory();
  if (op == nullptr || ends_with(a, arch::vector::pf) == ends_with(b, arch::vector::pf)) return false;
  const Outcome& fault = ends_with(a, arch::vector::pf) ? a : b;
  constexpr u64 largest = 5 * sizeof(u64);  // what IRET pops
  const u64 at = linear_address(before, i, *op) - (pushes_half(i) ? sizeof(u32) : 0);
  return at < sandbox::data_end && fault.cr2 >= sandbox::data_end && fault.cr2 - at < largest;
}

bool is_segment(const ZydisDecodedOperand& op) {
  return op.type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(op.reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

bool is_far_return(const Instruction& i) {
  static constexpr std::array list = {ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ};
  return std::ranges::find(list, i.info.mnemonic) != list.end() ||
         (i.info.mnemonic == ZYDIS_MNEMONIC_RET && i.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR);
}

/// One has looked at the target, and the other has gone on: to 32-bit code, or to a fault of the stack segment's.
bool refuses_target(const Outcome& one, const Outcome& other) {
  if (!ends_with(one, arch::vector::gp) || one.error != 0) return false;
  return other.vector ? ends_with(other, arch::vector::gp) && other.error != 0
                      : other.state.seg[arch::seg_cs] == selector::code32;
}

bool is_x87_store(const Instruction& i) {
  static constexpr std::array list = {ZYDIS_MNEMONIC_FST,   ZYDIS_MNEMONIC_FSTP,   ZYDIS_MNEMONIC_FIST,
                                      ZYDIS_MNEMONIC_FISTP, ZYDIS_MNEMONIC_FISTTP, ZYDIS_MNEMONIC_FBSTP};
  return i.memory() != nullptr && std::ranges::find(list, i.info.mnemonic) != list.end();
}

bool is_xsave(const Instruction& i) {
  const ZydisISAExt set = i.info.meta.isa_ext;
  return set == ZYDIS_ISA_EXT_XSAVE || set == ZYDIS_ISA_EXT_XSAVEC || set == ZYDIS_ISA_EXT_XSAVEOPT;
}

const char* partial_read(const Instruction& i) {
  switch (i.info.mnemonic) {
    case ZYDIS_MNEMONIC_MOVSXD:
      return i.operand[0].size == 16 ? "MOVSXD to 16 bits reads 16 bits (SDM vol. 2B, MOVSXD, r/m16); others read 32"
                                     : nullptr;
    case ZYDIS_MNEMONIC_BOUND: return "an index below the lower bound ends BOUND before the upper one is read";
    case ZYDIS_MNEMONIC_PUSH: return pushes_half(i) ? "PUSH writes 16 bits of a segment register" : nullptr;
    case ZYDIS_MNEMONIC_POP: return is_segment(i.operand[0]) ? "POP reads 16 bits for a segment register" : nullptr;
    default: return nullptr;
  }
}

}  // namespace

bool intel_host() {
  static const bool intel = [] {
    const char* const taken_for = std::getenv("CLOISTER_ORACLE_VENDOR");
    if (taken_for != nullptr && std::string_view(taken_for) == "other") return false;
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(0, &a, &b, &c, &d) != 0 && b == signature_INTEL_ebx && d == signature_INTEL_edx &&
           c == signature_INTEL_ecx;
  }();
  return intel;
}

const char* vendors_differ(const Instruction& i, const State& before, const Outcome& native, const Outcome& ours) {
  if (intel_host()) return nullptr;
  if (reads_beyond(before, i, native, ours)) {
    if (is_far_return(i)) return "far returns read 16 bits for a selector, and check CS before they read SP and SS";
    if (const char* const why = partial_read(i)) return why;
  }
  if (is_far_return(i) && i.info.operand_width == 64 &&
      (refuses_target(native, ours) || refuses_target(ours, native))) {
    return "a far return to 32-bit code takes the lower half of its target; others look at all of it";
  }
  if (is_x87_store(i) && native.vector.has_value() != ours.vector.has_value()) {
    const Outcome& stored = native.vector ? ours : native;
    constexpr u16 summary = 1u << 7;
    if ((stored.state.fpu.status & summary) != 0) {
      return "an x87 store that an unmasked exception forbids accesses no memory; others check the address";
    }
  }
  if (is_xsave(i) && i.memory() != nullptr && i.memory()->mem.segment == ZYDIS_REGISTER_SS) {
    const auto is = [](const Outcome& a, const Outcome& b) {
      return ends_with(a, arch::vector::ss) && ends_with(b, arch::vector::gp);
    };
    if (is(native, ours) || is(ours, native)) {
      return "XSAVE through SS: an address that is not canonical (#SS) comes before one that is not aligned (#GP)";
    }
  }
  return nullptr;
}

bool fault_keeps_flags(const Instruction& i) {
  if (intel_host() || (i.info.attributes & ZYDIS_ATTRIB_HAS_REPNE) == 0) return false;
  static constexpr std::array list = {ZYDIS_MNEMONIC_CMPSB, ZYDIS_MNEMONIC_CMPSW, ZYDIS_MNEMONIC_CMPSD,
                                      ZYDIS_MNEMONIC_CMPSQ, ZYDIS_MNEMONIC_SCASB, ZYDIS_MNEMONIC_SCASW,
                                      ZYDIS_MNEMONIC_SCASD, ZYDIS_MNEMONIC_SCASQ};
  return std::ranges::find(list, i.info.mnemonic) != list.end();
}

bool pushes_half(const Instruction& i) {
  return !intel_host() && i.info.mnemonic == ZYDIS_MNEMONIC_PUSH && is_segment(i.operand[0]) &&
         i.info.operand_width == 32;
}

}  // namespace cloister::oracle
