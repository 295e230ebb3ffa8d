// Field by field. After a fault the registers, flags and memory are compared as well: a fault changes nothing, but for
// what repeated string instructions have done before it and the exception flags of MXCSR and the x87 status word.
//
// Faults: the vector; the error code; for #PF also CR2. The present bit of #PF is not compared in the upper half of the
// address space, where Linux hides its own translations from signal handlers. R8 to R15 and the upper halves of the
// others are not visible in compatibility mode, also if a far transfer has just entered it.
#include "oracle/cpu/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "oracle/cpu/address.hpp"
#include "oracle/cpu/vendors.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::oracle {
namespace {

/// The decoder has the XSAVE area without the AVX component.
unsigned xsave_bytes(const Instruction& i) {
  constexpr unsigned legacy = 576, with_avx = 832;
  const ZydisDecodedOperand* const op = i.memory();
  return op != nullptr && op->size == 8 * legacy ? with_avx : 0;
}

class Comparison {
 public:
  Comparison(const Instruction& i, const State& before, const Outcome& native, const Outcome& ours)
      : i_(i), before_(before), native_(native), ours_(ours), tolerance_(tolerance_of(i.info.mnemonic)) {}

  std::vector<std::string> run() {
    fault();
    integers();
    x87();
    sse();
    return std::move(lines_);
  }

 private:
  void differ(const std::string& what, const std::string& native, const std::string& ours) {
    lines_.push_back(fmt::format("{:<8} native {}  ours {}", what, native, ours));
  }
  void equal(const std::string& what, u64 native, u64 ours) {
    if (native != ours) differ(what, fmt::format("{:016x}", native), fmt::format("{:016x}", ours));
  }

  void fault() {
    const auto number = [](const Outcome& o) { return o.vector ? int{*o.vector} : -1; };
    if (number(native_) != number(ours_)) {
      differ("vector", fmt::format("{} error {:x} cr2 {:x}", number(native_), native_.error, native_.cr2),
             fmt::format("{} error {:x} cr2 {:x}", number(ours_), ours_.error, ours_.cr2));
      return;
    }
    if (!native_.vector) return;
    u64 ignored = 0;
    if (*native_.vector == arch::vector::pf) {
      if (!same_operand()) equal("cr2", native_.cr2, ours_.cr2);
      if (native_.cr2 >= 0x7fff'ffff'f000) ignored = arch::pfec::p;
    }
    equal("error", native_.error & ~ignored, ours_.error & ~ignored);
  }

  /// Operands that are accessed in parts: any of their bytes may be the first that faults (SDM vol. 3A, 4.7, gives no
  /// order; MASKMOVDQU's own faults are implementation-specific, vol. 2A).
  bool same_operand() const {
    const ZydisDecodedOperand* const op = i_.memory();
    if (op == nullptr) return false;
    const bool masked = is_masked_move(i_);
    const ZydisInstructionCategory category = i_.info.meta.category;
    const bool iret = category == ZYDIS_CATEGORY_RET && i_.info.opcode == 0xcf;
    const bool far = iret || i_.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
    if (op->size <= 128 && !masked && !far && !stores_in_parts(i_)) return false;
    const u64 at = linear_address(before_, i_, *op),
              bytes = far ? (iret ? 5u : 2u) * i_.info.operand_width / 8 : std::max(op->size / 8u, xsave_bytes(i_));
    return native_.cr2 - at < bytes && ours_.cr2 - at < bytes;
  }

  void integers() {
    static constexpr std::array<const char*, 16> names = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const bool free = !native_.vector && undefined_destination(i_, before_) && i_.memory() == nullptr;
    const int destination = free ? number_of(i_.operand[0].reg.value) : -1;
    const bool upper_visible = i_.bits64 && native_.state.seg[arch::seg_cs] == selector::code64;
    const u64 mask = upper_visible ? ~u64{0} : 0xffff'ffff;
    for (int n = 0; n < (i_.bits64 ? 16 : 8); ++n) {
      const u64 bits = mask & ~vendor_bits(i_, before_, native_, n);
      if (n != destination) equal(names[n], native_.state.gpr[n] & bits, ours_.state.gpr[n] & bits);
    }
    equal("rip", native_.state.rip & mask, ours_.state.rip & mask);
    const u64 after_fault = fault_keeps_flags(i_) ? arch::rflags::status : 0;
    const u64 flags = visible_flags & ~(native_.vector ? after_fault : undefined_flags(i_, before_, native_.state));
    equal("rflags", native_.state.rflags & flags, ours_.state.rflags & flags);
    static constexpr std::array<const char*, 6> segments = {"es", "cs", "ss", "ds", "fs", "gs"};
    // The host kernel's IRET to the signal handler clears the RPL of null selectors (SDM vol. 2A, IRET).
    const auto selector = [](u16 value) { return value < 4 ? 0u : value; };
    for (unsigned n = 0; n < 6; ++n) equal(segments[n], selector(native_.state.seg[n]), selector(ours_.state.seg[n]));
  }

  void x87() {
    const FpuImage &n = native_.state.fpu, &o = ours_.state.fpu;
    const bool stack_varies = vendor_x87_stack(i_, native_);
    equal("fcw", n.control, o.control);
    u16 ignored = native_.vector ? 0 : undefined_x87_status(i_, before_, native_.state);
    if (stack_varies) ignored |= 7u << 11;
    equal("fsw", n.status & ~ignored & 0xffff, o.status & ~ignored & 0xffff);
    if (!stack_varies) equal("ftw", n.valid, o.valid);
    for (unsigned k = 0; k < 8; ++k) {  // by physical number
      const FpuImage::Slot &a = n.st[(k - n.top()) % 8], &b = o.st[(k - o.top()) % 8];
      if (a.mantissa == b.mantissa && a.sign_exponent == b.sign_exponent) continue;
      if (tolerance_ == Tolerance::transcendental && near80(a, b)) continue;
      differ(fmt::format("st{}", (k - before_.fpu.top()) % 8),
             fmt::format("{:04x}:{:016x}", a.sign_exponent, a.mantissa),
             fmt::format("{:04x}:{:016x}", b.sign_exponent, b.mantissa));
    }
  }

  void sse() {
    const FpuImage &n = native_.state.fpu, &o = ours_.state.fpu;
    equal("mxcsr", n.mxcsr, o.mxcsr);
    for (unsigned k = 0; k < (i_.bits64 ? 16u : 8u); ++k) {
      if (n.xmm[k] == o.xmm[k]) continue;
      if (tolerance_ == Tolerance::reciprocal && near32(n.xmm[k], o.xmm[k])) continue;
      differ(fmt::format("xmm{}", k), fmt::format("{:016x}_{:016x}", n.xmm[k][1], n.xmm[k][0]),
             fmt::format("{:016x}_{:016x}", o.xmm[k][1], o.xmm[k][0]));
    }
    const auto &nu = native_.state.upper, &ou = ours_.state.upper;
    for (unsigned k = 0; silicon::host_features().avx && k < (i_.bits64 ? 16u : 8u); ++k) {
      if (nu[k] == ou[k]) continue;
      if (tolerance_ == Tolerance::reciprocal && near32(nu[k], ou[k])) continue;
      differ(fmt::format("ymm{}", k), fmt::format("{:016x}_{:016x} above", nu[k][1], nu[k][0]),
             fmt::format("{:016x}_{:016x} above", ou[k][1], ou[k][0]));
    }
  }

  /// Each of two results may be 1 ulp from the exact one.
  static bool near80(const FpuImage::Slot& a, const FpuImage::Slot& b) {
    const auto wide = [](const FpuImage::Slot& v) {
      const i128 magnitude =
          (static_cast<i128>(v.sign_exponent & 0x7fff) << 63) + static_cast<i128>(v.mantissa << 1 >> 1);
      return (v.sign_exponent & 0x8000) != 0 ? -magnitude : magnitude;
    };
    const i128 difference = wide(a) - wide(b);
    return difference >= -2 && difference <= 2;
  }
  /// Each of two results may be off by 1.5 * 2^-12 (SDM vol. 2B, RCPPS).
  static bool near32(const std::array<u64, 2>& a, const std::array<u64, 2>& b) {
    float x[4], y[4];
    std::memcpy(x, a.data(), 16);
    std::memcpy(y, b.data(), 16);
    for (unsigned k = 0; k < 4; ++k) {
      if (std::memcmp(&x[k], &y[k], 4) == 0) continue;
      // Where the exact result is next to the smallest normal, either may have flushed it to zero.
      const float tiny = 1.001f * std::numeric_limits<float>::min();
      if (std::fabs(x[k]) <= tiny && std::fabs(y[k]) <= tiny && std::signbit(x[k]) == std::signbit(y[k])) continue;
      if (!(std::fabs(x[k] - y[k]) <= std::fabs(x[k]) * (3.0f / 4096))) return false;
    }
    return true;
  }

  const Instruction& i_;
  const State& before_;
  const Outcome &native_, &ours_;
  Tolerance tolerance_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> differences(const Instruction& i, const State& before, const Outcome& native,
                                     const Outcome& ours) {
  return Comparison(i, before, native, ours).run();
}

}  // namespace cloister::oracle
