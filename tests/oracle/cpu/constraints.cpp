// A table of constraints by mnemonic. Each keeps some unconstrained cases, but for those that would end the test
// program (TF) or run the data (branches land on INT3s, on pages without execute permission, or nowhere).
#include "oracle/cpu/constraints.hpp"

#include <cstring>

#include "oracle/cpu/address.hpp"
#include "oracle/cpu/vendors.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::oracle {
namespace {

struct Context {
  const Instruction& i;
  State& state;
  Random& random;
  Sandbox* memory;  ///< null while registers are constrained

  u64& reg(unsigned n) { return state.gpr[n]; }
  u64 address() const {
    const ZydisDecodedOperand* op = i.memory();
    return op != nullptr ? linear_address(state, i, *op) : 0;
  }
  u64 landing() const {
    if (random.percent(4)) return 0x7fff'ffff'0000 + random.below(0x1000);  // nothing there; 32 bits: neither
    for (;;) {
      const u64 at = sandbox::code + random.below(arch::page_size);
      if (at < sandbox::instruction || at >= sandbox::instruction + i.length()) return at;
    }
  }
};

/// Masks exceptions; what was pending for them alone no longer is.
void mask_x87(FpuImage& fpu, u16 masks) {
  fpu.control |= masks;
  if ((fpu.status & ~fpu.control & 0x3f) == 0) fpu.status &= static_cast<u16>(~0x8080);
}

/// Indices of gathers that lead into the data, or not far from it, or (64 bits) to no address at all: whatever lies
/// between belongs to the test program.
void near_indices(Context& c) {
  const ZydisDecodedOperand* const op = c.i.memory();
  if (op == nullptr || op->mem.type != ZYDIS_MEMOP_TYPE_VSIB) return;
  const auto reg = static_cast<unsigned>(ZydisRegisterGetId(op->mem.index));
  const bool quadwords = (c.i.info.opcode & 1) != 0;
  for (auto* const half : {&c.state.fpu.xmm[reg], &c.state.upper[reg]}) {
    for (u64& word : *half) {
      const u64 low = c.random.below(256) - 128, high = c.random.below(256) - 128;
      word = quadwords ? low : static_cast<u32>(low) | high << 32;
      if (c.random.percent(4)) word = quadwords ? u64{1} << 60 | low : c.random.next();
    }
  }
}

void few_repeats(Context& c) {
  if (!c.i.repeated()) return;
  const u64 count = c.random.percent(90) ? c.random.below(20) : c.random.below(300);
  const unsigned width = c.i.info.address_width;
  const u64 mask = width == 64 ? ~u64{0} : (u64{1} << width) - 1;
  c.reg(arch::rcx) = (c.reg(arch::rcx) & ~mask) | count;
}

/// A bit offset that stays near its operand, or one whose address is not canonical (SDM vol. 2A, 3.1.1.9): whatever
/// lies between belongs to the test program.
void near_bit(Context& c) {
  if (c.i.memory() == nullptr || c.i.operand[1].type != ZYDIS_OPERAND_TYPE_REGISTER) return;
  const int reg = number_of(c.i.operand[1].reg.value);
  const u64 noise = c.random.next(), far = (u64{1} << 62) | (noise >> 54);
  if (reg >= 0) c.reg(static_cast<unsigned>(reg)) = c.random.percent(90) ? noise % 1024 - 512 : far;
}

/// Quotients that fit, most of the time: the dividend's upper half is below the divisor.
void fitting_dividend(Context& c) {
  if (c.random.percent(25)) return;
  const bool is_signed = c.i.info.mnemonic == ZYDIS_MNEMONIC_IDIV;
  const unsigned bits = c.i.operand[0].size;
  const u64 low = c.reg(arch::rax);
  if (bits == 8) {
    c.reg(arch::rax) = is_signed ? static_cast<u64>(static_cast<i64>(static_cast<i8>(low))) : low & 0x1ff;
  } else {
    const u64 sign = (low >> (bits - 1)) & 1 ? ~u64{0} : 0;
    c.reg(arch::rdx) = is_signed ? sign : c.random.below(4);
  }
}

/// LEAVE and ENTER's stack walks go through RBP.
void frame_pointer(Context& c) {
  c.reg(arch::rbp) = pick_target(c.random, 8, c.i.bits64 ? 64 : 32);
  if (c.random.percent(80)) c.reg(arch::rbp) = sandbox::data + 0x100 + c.random.below(sandbox::data_bytes - 0x200);
}

void far_pointer(Context& c);
bool is_far(const Instruction& i);

void branch_target(Context& c) {
  const ZydisDecodedOperand& op = c.i.operand[0];
  if (op.type == ZYDIS_OPERAND_TYPE_REGISTER) {
    const int reg = number_of(op.reg.value);
    if (reg >= 0 && reg != arch::rsp) c.reg(static_cast<unsigned>(reg)) = c.landing();
  }
}

void branch_target_memory(Context& c) {
  if (is_far(c.i)) {
    if (c.i.operand[0].type == ZYDIS_OPERAND_TYPE_MEMORY) far_pointer(c);
    return;
  }
  if (c.i.operand[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
    c.memory->put(linear_address(c.state, c.i, c.i.operand[0]), c.landing());
  }
}

void return_address(Context& c) {
  const u64 at = c.reg(arch::rsp) & (c.i.bits64 ? ~u64{0} : 0xffff'ffff);
  c.memory->put(at, c.landing());
  if (!is_far(c.i)) return;
  // AMD reads the outer stack before it checks a selector of another RPL, so RPL is 3.
  const u16 rpl = intel_host() ? 0 : 3;
  c.memory->put(at + c.i.info.operand_width / 8, static_cast<u16>(random_selector(c.random) | rpl));
}

/// IRET to the same privilege: RIP, CS, RFLAGS, and in 64-bit mode RSP and SS.
void interrupt_frame(Context& c) {
  const u64 at = c.reg(arch::rsp) & (c.i.bits64 ? ~u64{0} : 0xffff'ffff);
  const unsigned bytes = c.i.info.operand_width / 8;
  const u64 flags = c.random.next() & ~(arch::rflags::tf | arch::rflags::ac);
  const std::array<u64, 5> frame = {c.landing(), random_selector(c.random) | 3u, flags, c.random.integer(),
                                    c.random.percent(80) ? selector::data : random_selector(c.random) | 3u};
  for (unsigned n = 0; n < (c.i.bits64 ? 5u : 3u); ++n)
    c.memory->write(at + n * bytes, {reinterpret_cast<const u8*>(&frame[n]), bytes});
}

/// Loads of denormals: an unmasked denormal-operand exception leaves the stack alone (SDM vol. 1, 8.5.2); processors
/// push.
void denormals_masked(Context& c) {
  if (c.i.memory() != nullptr) mask_x87(c.state.fpu, 2);
}
/// Whether a result within tolerance is inexact, or too small, is not compared, and so must not be reported.
void precision_masked(Context& c) { mask_x87(c.state.fpu, 0x30); }

/// TF would trap after the instruction and AC in the signal handler.
void harmless_flags(Context& c) {
  const u64 at = c.reg(arch::rsp) & (c.i.bits64 ? ~u64{0} : 0xffff'ffff);
  const u64 noise = c.random.next() & ~(arch::rflags::tf | arch::rflags::ac);
  c.memory->put(at, noise);
}

/// CMPXCHG finds what it compares with, half of the time.
void equal_comparand(Context& c) {
  if (!c.random.percent(50)) return;
  if (c.i.memory() != nullptr) {
    c.memory->put(c.address(), c.reg(arch::rax));
  } else if (const int reg = number_of(c.i.operand[0].reg.value); reg >= 0 && reg != arch::rsp) {
    c.reg(static_cast<unsigned>(reg)) = c.reg(arch::rax);
  }
}

void equal_comparand_wide(Context& c) {
  if (!c.random.percent(50)) return;
  const u64 at = c.address();
  if (c.i.info.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B) {
    c.memory->put(at, c.reg(arch::rax));
    c.memory->put(at + 8, c.reg(arch::rdx));
  } else {
    c.memory->put(at, static_cast<u32>(c.reg(arch::rax)));
    c.memory->put(at + 4, static_cast<u32>(c.reg(arch::rdx)));
  }
}

/// An FXSAVE image whose MXCSR has no reserved bits set, most of the time; otherwise #GP(0).
u32 any_mxcsr(Context& c);
void fxsave_image(Context& c) {
  const u64 at = c.address();
  c.memory->put(at + 24, any_mxcsr(c));
}

/// DPPS and DPPD: which of their steps flag exceptions before an unmasked one stops them is the implementation's
/// (SDM vol. 2A, DPPS).
void masked(Context& c) { c.state.fpu.mxcsr |= 0x1f80; }

/// F2XM1's result is undefined outside -1 to +1 (SDM vol. 2A, F2XM1).
void precision_masked(Context& c);
void below_one(Context& c) {
  precision_masked(c);
  FpuImage::Slot& st0 = c.state.fpu.st[0];
  const u16 exponent = st0.sign_exponent & 0x7fff;
  if (exponent >= 0x3fff && exponent != 0x7fff) st0.sign_exponent = static_cast<u16>(st0.sign_exponent & 0xbfff);
}

/// FYL2XP1's result is undefined unless ST(0) is within -(1 - sqrt(2)/2) to sqrt(2) - 1 (SDM vol. 2A, FYL2XP1): below
/// 1/4 here.
void precision_masked(Context& c);
void near_zero(Context& c) {
  precision_masked(c);
  FpuImage::Slot& st0 = c.state.fpu.st[0];
  const u16 exponent = st0.sign_exponent & 0x7fff;
  if (exponent >= 0x3ffd && exponent != 0x7fff) {
    st0.sign_exponent = static_cast<u16>((st0.sign_exponent & 0x8000) | (0x3ffc - (exponent & 63)));
  }
}

/// Bit 17, AMD's misaligned mode, is reserved for Intel.
u32 any_mxcsr(Context& c) {
  return static_cast<u32>(c.random.percent(85) ? c.random.next() & 0xffff : c.random.next() & ~u64{0x20000});
}

void valid_mxcsr(Context& c) { c.memory->put(c.address(), any_mxcsr(c)); }

/// XSAVE area: the components that both worlds have (x87, SSE and AVX), a header that XRSTOR takes, most of the time.
void xsave_image(Context& c) {
  fxsave_image(c);
  const u64 at = c.address();
  std::array<u64, 8> header{};
  header[0] = c.random.below(silicon::host_features().avx ? 8 : 4);
  if (c.random.percent(5)) header[c.random.below(8)] |= u64{1} << 63;
  c.memory->put(at + 512, header);
}
void common_components(Context& c) {
  c.reg(arch::rax) &= silicon::host_features().avx ? 7 : 3;
  c.reg(arch::rdx) = 0;
}

/// Lengths of PCMPESTRI and PCMPESTRM: within the operands, most of the time.
void string_lengths(Context& c) {
  if (!c.random.percent(70)) return;
  c.reg(arch::rax) = c.random.below(24) - 4;
  c.reg(arch::rdx) = c.random.below(24) - 4;
}

/// Segment loads and the instructions that look at descriptors: selectors that exist in both worlds.
void selectors(Context& c) {
  for (const ZydisDecodedOperand& op : c.i.operands()) {
    if (op.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) continue;
    const u16 value = random_selector(c.random);
    const int reg = op.type == ZYDIS_OPERAND_TYPE_REGISTER ? number_of(op.reg.value) : -1;
    if (reg >= 0 && reg != arch::rsp && c.memory == nullptr) {
      c.reg(static_cast<unsigned>(reg)) = (c.random.next() & ~u64{0xffff}) | value;
    }
    if (op.type == ZYDIS_OPERAND_TYPE_MEMORY && c.memory != nullptr) {
      c.memory->put(linear_address(c.state, c.i, op), value);
    }
  }
}
bool loads_segment(const Instruction& i) {
  return i.operand[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
         ZydisRegisterGetClass(i.operand[0].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}
void segment_move(Context& c) {
  if (loads_segment(c.i)) selectors(c);
}
void segment_pop(Context& c) {
  if (loads_segment(c.i)) c.memory->put(c.address(), random_selector(c.random));
}

/// A far pointer: offset of the operand's size, then the selector.
void far_pointer(Context& c) {
  const u64 at = c.address(), target = c.landing();
  c.memory->put(at, target);
  c.memory->put(at + c.i.info.operand_width / 8, random_selector(c.random));
}
bool is_far(const Instruction& i) { return i.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR; }

struct Constraint {
  ZydisMnemonic mnemonic;
  void (*registers)(Context&);
  void (*memory)(Context&);
};

constexpr std::array table = {
    Constraint{ZYDIS_MNEMONIC_BT, near_bit, nullptr},
    Constraint{ZYDIS_MNEMONIC_BTS, near_bit, nullptr},
    Constraint{ZYDIS_MNEMONIC_BTR, near_bit, nullptr},
    Constraint{ZYDIS_MNEMONIC_BTC, near_bit, nullptr},
    Constraint{ZYDIS_MNEMONIC_DIV, fitting_dividend, nullptr},
    Constraint{ZYDIS_MNEMONIC_IDIV, fitting_dividend, nullptr},
    Constraint{ZYDIS_MNEMONIC_ENTER, frame_pointer, nullptr},
    Constraint{ZYDIS_MNEMONIC_LEAVE, frame_pointer, nullptr},
    Constraint{ZYDIS_MNEMONIC_JMP, branch_target, branch_target_memory},
    Constraint{ZYDIS_MNEMONIC_CALL, branch_target, branch_target_memory},
    Constraint{ZYDIS_MNEMONIC_IRET, nullptr, interrupt_frame},
    Constraint{ZYDIS_MNEMONIC_IRETD, nullptr, interrupt_frame},
    Constraint{ZYDIS_MNEMONIC_IRETQ, nullptr, interrupt_frame},
    Constraint{ZYDIS_MNEMONIC_FLD, denormals_masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_FSIN, precision_masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_FCOS, precision_masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_FSINCOS, precision_masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_FPTAN, precision_masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_FPATAN, precision_masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_FYL2X, precision_masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_RET, nullptr, return_address},
    Constraint{ZYDIS_MNEMONIC_POPF, nullptr, harmless_flags},
    Constraint{ZYDIS_MNEMONIC_POPFD, nullptr, harmless_flags},
    Constraint{ZYDIS_MNEMONIC_POPFQ, nullptr, harmless_flags},
    Constraint{ZYDIS_MNEMONIC_CMPXCHG, nullptr, equal_comparand},
    Constraint{ZYDIS_MNEMONIC_CMPXCHG8B, nullptr, equal_comparand_wide},
    Constraint{ZYDIS_MNEMONIC_CMPXCHG16B, nullptr, equal_comparand_wide},
    Constraint{ZYDIS_MNEMONIC_FXRSTOR, nullptr, fxsave_image},
    Constraint{ZYDIS_MNEMONIC_FXRSTOR64, nullptr, fxsave_image},
    Constraint{ZYDIS_MNEMONIC_LDMXCSR, nullptr, valid_mxcsr},
    Constraint{ZYDIS_MNEMONIC_XSAVEC, common_components, xsave_image},
    Constraint{ZYDIS_MNEMONIC_XSAVEC64, common_components, xsave_image},
    Constraint{ZYDIS_MNEMONIC_XSAVEOPT, common_components, xsave_image},
    Constraint{ZYDIS_MNEMONIC_XSAVEOPT64, common_components, xsave_image},
    Constraint{ZYDIS_MNEMONIC_FYL2XP1, near_zero, nullptr},
    Constraint{ZYDIS_MNEMONIC_XSAVE, common_components, xsave_image},
    Constraint{ZYDIS_MNEMONIC_XSAVE64, common_components, xsave_image},
    Constraint{ZYDIS_MNEMONIC_XRSTOR, common_components, xsave_image},
    Constraint{ZYDIS_MNEMONIC_XRSTOR64, common_components, xsave_image},
    Constraint{ZYDIS_MNEMONIC_PCMPESTRI, string_lengths, nullptr},
    Constraint{ZYDIS_MNEMONIC_PCMPESTRM, string_lengths, nullptr},
    Constraint{ZYDIS_MNEMONIC_MOV, segment_move, segment_move},
    Constraint{ZYDIS_MNEMONIC_POP, nullptr, segment_pop},
    Constraint{ZYDIS_MNEMONIC_LDS, nullptr, far_pointer},
    Constraint{ZYDIS_MNEMONIC_LES, nullptr, far_pointer},
    Constraint{ZYDIS_MNEMONIC_LGS, nullptr, far_pointer},
    Constraint{ZYDIS_MNEMONIC_LSS, nullptr, far_pointer},
    Constraint{ZYDIS_MNEMONIC_VPCMPESTRI, string_lengths, nullptr},
    Constraint{ZYDIS_MNEMONIC_VPCMPESTRM, string_lengths, nullptr},
    Constraint{ZYDIS_MNEMONIC_VLDMXCSR, nullptr, valid_mxcsr},
    Constraint{ZYDIS_MNEMONIC_VDPPS, masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_VDPPD, masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_DPPS, masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_DPPD, masked, nullptr},
    Constraint{ZYDIS_MNEMONIC_F2XM1, below_one, nullptr},
    Constraint{ZYDIS_MNEMONIC_LAR, selectors, selectors},
    Constraint{ZYDIS_MNEMONIC_LSL, selectors, selectors},
    Constraint{ZYDIS_MNEMONIC_VERR, selectors, selectors},
    Constraint{ZYDIS_MNEMONIC_VERW, selectors, selectors},
};

const Constraint* find(ZydisMnemonic mnemonic) {
  for (const Constraint& c : table)
    if (c.mnemonic == mnemonic) return &c;
  return nullptr;
}

}  // namespace

void constrain_registers(const Instruction& i, State& state, Random& random) {
  Context context{i, state, random, nullptr};
  few_repeats(context);
  near_indices(context);
  const Constraint* const c = find(i.info.mnemonic);
  if (c != nullptr && c->registers != nullptr) c->registers(context);
}

void constrain_memory(const Instruction& i, State& state, Random& random, Sandbox& memory) {
  Context context{i, state, random, &memory};
  const Constraint* const c = find(i.info.mnemonic);
  if (c != nullptr && c->memory != nullptr) c->memory(context);
}

}  // namespace cloister::oracle
