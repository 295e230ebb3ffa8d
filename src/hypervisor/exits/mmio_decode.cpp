// Semantics by table: an operation computes a result from destination and source, and the status flags as the
// instruction's page of SDM vol. 2 says. Operands come from Zydis.
#include "hypervisor/exits/mmio_decode.hpp"

#include <algorithm>
#include <bit>

#include "arch/try.hpp"

namespace cloister::hypervisor {
namespace {

using arch::Gva;
using vmx::GeneralRegs;
using vmx::SystemRegs;
namespace f = arch::rflags;

using EmulateError = std::variant<Fault, NotEmulated>;

constexpr u64 mask_of(unsigned bits) { return bits >= 64 ? ~u64{0} : (u64{1} << bits) - 1; }
constexpr u64 top_bit(unsigned bits) { return u64{1} << (bits - 1); }
constexpr u64 sign_extend(u64 value, unsigned bits) {
  return static_cast<u64>(static_cast<i64>(value << (64 - bits)) >> (64 - bits));
}

void set_flags(u64& rflags, u64 mask, u64 value) { rflags = (rflags & ~mask) | (value & mask); }

u64 result_flags(u64 result, unsigned bits) {
  return (result == 0 ? f::zf : 0) | ((result & top_bit(bits)) != 0 ? f::sf : 0) |
         ((std::popcount(static_cast<u8>(result)) & 1) == 0 ? f::pf : 0);
}

/// `rflags` is read and changed in place.
using Compute = u64 (*)(u64 dst, u64 src, unsigned bits, u64& rflags);

u64 move(u64, u64 src, unsigned, u64&) { return src; }

template <u64 (*op)(u64, u64)>
u64 logic(u64 dst, u64 src, unsigned bits, u64& rflags) {
  const u64 result = op(dst, src) & mask_of(bits);
  set_flags(rflags, f::status & ~f::af, result_flags(result, bits));
  return result;
}
u64 and_(u64 a, u64 b) { return a & b; }
u64 or_(u64 a, u64 b) { return a | b; }
u64 xor_(u64 a, u64 b) { return a ^ b; }

template <bool with_carry>
u64 add(u64 dst, u64 src, unsigned bits, u64& rflags) {
  const u64 carry_in = with_carry && (rflags & f::cf) != 0 ? 1 : 0;
  const u64 result = (dst + src + carry_in) & mask_of(bits);
  const u64 carries = (dst & src) | ((dst | src) & ~result);
  const bool overflow = ((dst ^ result) & (src ^ result) & top_bit(bits)) != 0;
  set_flags(rflags, f::status,
            result_flags(result, bits) | ((carries & top_bit(bits)) != 0 ? f::cf : 0) |
                ((carries & 8) != 0 ? f::af : 0) | (overflow ? f::of : 0));
  return result;
}

template <bool with_borrow>
u64 subtract(u64 dst, u64 src, unsigned bits, u64& rflags) {
  const u64 borrow_in = with_borrow && (rflags & f::cf) != 0 ? 1 : 0;
  const u64 result = (dst - src - borrow_in) & mask_of(bits);
  const u64 borrows = (~dst & src) | ((~dst | src) & result);
  const bool overflow = ((dst ^ src) & (dst ^ result) & top_bit(bits)) != 0;
  set_flags(rflags, f::status,
            result_flags(result, bits) | ((borrows & top_bit(bits)) != 0 ? f::cf : 0) |
                ((borrows & 8) != 0 ? f::af : 0) | (overflow ? f::of : 0));
  return result;
}

/// BT, BTS, BTR, BTC: the selected bit goes to CF.
template <u64 (*op)(u64, u64)>
u64 bit(u64 dst, u64 src, unsigned bits, u64& rflags) {
  const u64 selected = u64{1} << (src & (bits - 1));
  set_flags(rflags, f::cf, (dst & selected) != 0 ? f::cf : 0);
  return op(dst, selected);
}
u64 keep(u64 a, u64) { return a; }
u64 clear(u64 a, u64 b) { return a & ~b; }

enum class Shape : u8 {
  move,         ///< the destination is written, not read
  extend_zero,  ///< as move; the source is narrower
  extend_sign,
  modify,   ///< read, computed, written
  compare,  ///< read, computed, not written
  bit_modify,
  bit_test,  ///< a register source selects a bit beyond the operand
  exchange,
  string,  ///< one element; index registers move
};

struct MmioRow {
  ZydisMnemonic mnemonic;
  Shape shape;
  Compute compute;
};

constexpr MmioRow rows[] = {
    {ZYDIS_MNEMONIC_MOV, Shape::move, move},
    {ZYDIS_MNEMONIC_MOVZX, Shape::extend_zero, move},
    {ZYDIS_MNEMONIC_MOVSX, Shape::extend_sign, move},
    {ZYDIS_MNEMONIC_MOVSXD, Shape::extend_sign, move},
    {ZYDIS_MNEMONIC_AND, Shape::modify, logic<and_>},
    {ZYDIS_MNEMONIC_OR, Shape::modify, logic<or_>},
    {ZYDIS_MNEMONIC_XOR, Shape::modify, logic<xor_>},
    {ZYDIS_MNEMONIC_ADD, Shape::modify, add<false>},
    {ZYDIS_MNEMONIC_ADC, Shape::modify, add<true>},
    {ZYDIS_MNEMONIC_SUB, Shape::modify, subtract<false>},
    {ZYDIS_MNEMONIC_SBB, Shape::modify, subtract<true>},
    {ZYDIS_MNEMONIC_CMP, Shape::compare, subtract<false>},
    {ZYDIS_MNEMONIC_TEST, Shape::compare, logic<and_>},
    {ZYDIS_MNEMONIC_BT, Shape::bit_test, bit<keep>},
    {ZYDIS_MNEMONIC_BTS, Shape::bit_modify, bit<or_>},
    {ZYDIS_MNEMONIC_BTR, Shape::bit_modify, bit<clear>},
    {ZYDIS_MNEMONIC_BTC, Shape::bit_modify, bit<xor_>},
    {ZYDIS_MNEMONIC_XCHG, Shape::exchange, move},
    {ZYDIS_MNEMONIC_MOVSB, Shape::string, move},
    {ZYDIS_MNEMONIC_MOVSW, Shape::string, move},
    {ZYDIS_MNEMONIC_MOVSD, Shape::string, move},
    {ZYDIS_MNEMONIC_MOVSQ, Shape::string, move},
    {ZYDIS_MNEMONIC_STOSB, Shape::string, move},
    {ZYDIS_MNEMONIC_STOSW, Shape::string, move},
    {ZYDIS_MNEMONIC_STOSD, Shape::string, move},
    {ZYDIS_MNEMONIC_STOSQ, Shape::string, move},
    {ZYDIS_MNEMONIC_LODSB, Shape::string, move},
    {ZYDIS_MNEMONIC_LODSW, Shape::string, move},
    {ZYDIS_MNEMONIC_LODSD, Shape::string, move},
    {ZYDIS_MNEMONIC_LODSQ, Shape::string, move},
};

/// The two operands of one instruction, wherever they are.
class Operands {
 public:
  Operands(const Instruction& insn, GeneralRegs& general, const SystemRegs& system, OperandMemory& memory)
      : insn_(insn), general_(general), system_(system), memory_(memory) {}

  /// General registers, immediates and memory of 1 to 8 bytes; not control, segment or vector registers.
  bool usable(unsigned i) const {
    const auto& operand = insn_.operand[i];
    if (operand.size != 8 && operand.size != 16 && operand.size != 32 && operand.size != 64) return false;
    if (!insn_.is_reg(i)) return operand.type != ZYDIS_OPERAND_TYPE_POINTER;
    const auto kind = ZydisRegisterGetClass(operand.reg.value);
    return kind == ZYDIS_REGCLASS_GPR8 || kind == ZYDIS_REGCLASS_GPR16 || kind == ZYDIS_REGCLASS_GPR32 ||
           kind == ZYDIS_REGCLASS_GPR64;
  }

  tl::expected<u64, Fault> read(unsigned i) {
    if (insn_.is_mem(i)) return memory_.load(address(i), insn_.bytes(i));
    if (insn_.is_reg(i)) return read_register(general_, insn_.operand[i].reg.value);
    return insn_.operand[i].imm.value.u & mask_of(insn_.operand[0].size);
  }
  tl::expected<void, Fault> write(unsigned i, u64 value) {
    if (insn_.is_mem(i)) return memory_.store(address(i), value, insn_.bytes(i));
    write_register(general_, insn_.operand[i].reg.value, value);
    return {};
  }
  tl::expected<void, Fault> probe(unsigned i) {
    return insn_.is_mem(i) ? memory_.probe_store(address(i), insn_.bytes(i)) : tl::expected<void, Fault>{};
  }
  /// Bytes to add to operand 0's address: a bit offset from a register reaches beyond the operand (SDM vol. 2A, BT).
  void shift(i64 bytes) { shift_ = static_cast<u64>(bytes); }

 private:
  Gva address(unsigned i) const { return operand_address(insn_, i, general_, system_) + (i == 0 ? shift_ : 0); }

  const Instruction& insn_;
  GeneralRegs& general_;
  const SystemRegs& system_;
  OperandMemory& memory_;
  u64 shift_ = 0;
};

tl::expected<void, Fault> run(const MmioRow& row, const Instruction& insn, Operands& operands, u64& rflags) {
  const unsigned bits = insn.operand[0].size;
  const bool reads = row.shape != Shape::move && row.shape != Shape::extend_zero && row.shape != Shape::extend_sign &&
                     row.shape != Shape::string;
  const bool writes = row.shape != Shape::compare && row.shape != Shape::bit_test;
  // A store that faults must do so before a device register is read, which may change the device.
  if (writes) {
    for (unsigned i : {0u, 1u}) {
      if (i == 1 && row.shape != Shape::exchange) break;
      TRY(operands.probe(i));
    }
  }
  auto src = TRY(operands.read(1));
  if (row.shape == Shape::extend_sign) src = sign_extend(src, insn.operand[1].size) & mask_of(bits);
  if ((row.shape == Shape::bit_test || row.shape == Shape::bit_modify) && insn.is_mem(0) && insn.is_reg(1)) {
    const i64 word = static_cast<i64>(sign_extend(src, bits)) >> std::countr_zero(bits);
    operands.shift(word * static_cast<i64>(bits / 8));
  }
  u64 dst = 0;
  if (reads) {
    dst = TRY(operands.read(0));
  }
  u64 flags = rflags;
  const u64 result = row.compute(dst, src, bits, flags);
  if (writes) {
    TRY(operands.write(0, result));
  }
  if (row.shape == Shape::exchange) {
    TRY(operands.write(1, dst));
  }
  rflags = flags;
  return {};
}

Progress step_string(const Instruction& insn, GeneralRegs& general) {
  const unsigned address_bits = insn.info.address_width;
  if (insn.is_mem(0)) step_index(general, arch::rdi, address_bits, insn.bytes(0));
  if (insn.is_mem(1)) step_index(general, arch::rsi, address_bits, insn.bytes(1));
  if (!insn.repeats()) return Progress::complete;
  return count_down(general, address_bits) ? Progress::complete : Progress::again;
}

}  // namespace

tl::expected<Progress, EmulateError> emulate(const Instruction& insn, GeneralRegs& general, const SystemRegs& system,
                                             OperandMemory& memory) {
  const auto row = std::find_if(std::begin(rows), std::end(rows),
                                [&](const MmioRow& r) { return r.mnemonic == insn.info.mnemonic; });
  Operands operands(insn, general, system, memory);
  if (row == std::end(rows) || insn.info.operand_count < 2 || !operands.usable(0) || !operands.usable(1))
    return tl::unexpected(EmulateError{NotEmulated{}});
  if (row->shape == Shape::string && insn.repeats() && repeat_count(general, insn.info.address_width) == 0)
    return Progress::complete;
  if (auto done = run(*row, insn, operands, general.rflags); !done) return tl::unexpected(EmulateError{done.error()});
  return row->shape == Shape::string ? step_string(insn, general) : Progress::complete;
}

}  // namespace cloister::hypervisor
